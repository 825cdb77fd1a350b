"""A fake of JEOL's COM object TEM3 that answers as (values..., result) and misbehaves on request."""

from __future__ import annotations


class FakeTem3:
    """State of the instrument; each ``Create...`` gives a view of it. ``clock`` drives the stage.

    ``results``: method -> result code to answer with. ``ignored``: setters that answer 0 and do nothing.
    ``lag``: time in which the status still says rest. ``always_rest``: it says so all the time (JEM-2100F in alpha).
    ``short``: moves end this far short [nm or deg].
    """

    def __init__(self, clock):
        self.clock = clock
        self.results, self.ignored, self.calls = {}, set(), []
        self.lag, self.always_rest, self.short, self.limiter = 0.0, False, {}, False
        self.numbers = {"CL3": 40000, "IL1": 30000, "OLf": 1000, "OLc": 2000, "HTValue": 200000.0, "SpotSize": 2}
        self.numbers |= {"Alpha": 3, "BeamBlank": 0, "Mode": 0, "Selector": 1, "Screen": 2, "Holder": 1, "Rate": 0}
        self.numbers |= {"CurrentDensity": 25000.0, "BeamValve": 1}
        self.pairs = {}
        self.where, self.target, self.since = [0.0] * 5, [0.0] * 5, [0.0] * 5
        self.speeds = [1e5, 1e5, 1e5, 10.0, 10.0]

    tables = ((2500, 5000, 10000), (), (50, 100, 250), (), (15, 20, 30, 40))

    def __getattr__(self, name):
        if name.startswith("Create"):
            return lambda: _View(self)
        raise AttributeError(name)

    # what the views call, by lower-case name

    def position(self, k):
        gone = self.speeds[k] * (self.clock.now() - self.since[k])
        way = self.target[k] - self.where[k]
        return self.target[k] if gone >= abs(way) else self.where[k] + gone * (1 if way > 0 else -1)

    def go(self, k, value):
        self.where[k], self.since[k] = self.position(k), self.clock.now()
        short = self.short.get(k, 0.0)
        self.target[k] = value - short * (1 if value > self.where[k] else -1)

    def status(self, k):
        if self.limiter:
            return 2
        if self.always_rest or self.clock.now() < self.since[k] + self.lag:
            return 0
        return int(abs(self.position(k) - self.target[k]) > 1e-9)


_PLAIN = {"GetHTValue": "HTValue", "GetSpotSize": "SpotSize", "GetAlpha": "Alpha", "GetBeamBlank": "BeamBlank"}
_PLAIN |= {"GetAngle": "Screen", "GetHolderStts": "Holder", "Getf1OverRateTxNum": "Rate", "GetBeamValve": "BeamValve"}
_PLAIN |= {f"Get{n}": n for n in ("CL3", "IL1", "OLf", "OLc", "CurrentDensity")}
_WRITE = {"SetCL3": "CL3", "SetDiffFocus": "IL1", "SetOLf": "OLf", "SetOLc": "OLc", "SelectSpotSize": "SpotSize"}
_WRITE |= {"SetAlphaSelector": "Alpha", "SetBeamBlank": "BeamBlank", "SelectFunctionMode": "Mode"}
_WRITE |= {"SetSelector": "Selector", "SelectAngle": "Screen", "Setf1OverRateTxNum": "Rate"}
_STEPS = {"SetX": 0, "SetY": 1, "SetZ": 2, "SetTiltXAngle": 3, "SetTiltYAngle": 4}
_COILS = ("GunA1", "GunA2", "CLA1", "CLA2", "CLs", "OLs", "ILs", "IS1", "IS2", "PLA")
_OTHER = ("Stop", "GetPos", "GetStatus", "GetFunctionMode", "GetMagValue", "GetSize")
_NAMES = (*_PLAIN, *_WRITE, *_STEPS, *_OTHER, *(f"{way}{coil}" for coil in _COILS for way in ("Get", "Set")))
_KNOWN = {n.lower(): n for n in _NAMES}  # COM does not mind the case


class _View:
    def __init__(self, tem):
        self._tem = tem

    def __getattr__(self, name):
        if name.lower() not in _KNOWN:
            raise AttributeError(name)
        name = _KNOWN[name.lower()]

        def call(*args):
            tem = self._tem
            tem.calls.append((name, *args))
            result = tem.results.get(name, 0)
            if result or name in tem.ignored:
                values = ()
            else:
                values = _answer(tem, name, args)
            return (*values, result) if name.startswith("Get") else result

        return call


def _answer(tem, name, args):
    if name in _STEPS:
        tem.go(_STEPS[name], args[0])
    elif name == "Stop":
        for k in range(5):
            tem.where[k] = tem.target[k] = tem.position(k)
    elif name == "GetPos":
        return tuple(tem.position(k) for k in range(5))
    elif name == "GetStatus":
        return tuple(tem.status(k) for k in range(5))
    elif name == "GetFunctionMode":
        return tem.numbers["Mode"], "name"
    elif name == "GetMagValue":
        value, unit = (
            tem.tables[tem.numbers["Mode"]][tem.numbers["Selector"]],
            "cm" if tem.numbers["Mode"] == 4 else "X",
        )
        return value, unit, f"{unit}{value}"
    elif name == "GetSize":
        return (args[0],)
    elif name in _PLAIN:
        return (tem.numbers[_PLAIN[name]],)
    elif name in _WRITE:
        tem.numbers[_WRITE[name]] = args[0]
        if name == "Setf1OverRateTxNum":
            tem.speeds[3] = (10.0, 2.0, 1.0, 0.5, 0.25, 0.1)[args[0]]
    elif name.startswith("Get"):
        return tem.pairs.get(name[3:], (32768, 32768))
    else:
        tem.pairs[name[3:]] = tuple(args)
    return ()
