"""What an hour of a device costs: listed prices of providers on one basis for all devices, and the reader's own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import permutations
from math import exp, isfinite
from pathlib import Path
from statistics import median

import numpy as np

from workbench.catalog.csv_rows import read_rows
from workbench.catalog.own_rows import cached_while_unchanged
from workbench.catalog.price_rows import (
    Price,
    PriceRow,
    catalogue_price_rows,
    is_stale,
    listings,
    own_price_rows,
)
from workbench.catalog.tables import devices
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext, gettext_noop, ngettext
from workbench.core.names import did_you_mean

OWN_COLUMNS = ("device_id", "usd_per_gpu_hour")


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePrice:
    """The price of a device that is comparable with that of every other device, and what it stands on."""

    device_id: str
    usd_per_gpu_hour: float
    low: Price
    """The provider that asks least."""
    high: Price
    """The provider that asks most."""
    n_providers: int
    n_stale: int
    """Providers whose price is old or without a day."""
    newest: date | None
    """Day of the newest listing; None where none has one."""
    basis: str
    """How it was made of the listed prices."""

    @property
    def is_stale(self) -> bool:
        """Whether every listing of it is old or without a day."""
        return self.n_stale == self.n_providers

    @property
    def shown_range(self) -> str:
        """The least and the highest listed price, with its providers."""
        low, high = self.low, self.high
        if low.usd_per_gpu_hour == high.usd_per_gpu_hour:
            return f"{low.usd_per_gpu_hour:.2f}" + (f" ({gettext(low.provider)})" if self.n_providers == 1 else "")
        return gettext("{low} ({low_provider}) to {high} ({high_provider})").format(
            low=f"{low.usd_per_gpu_hour:.2f}",
            low_provider=gettext(low.provider),
            high=f"{high.usd_per_gpu_hour:.2f}",
            high_provider=gettext(high.provider),
        )

    @property
    def label(self) -> str:
        """The basis, the range and the age, in one line."""
        text = ngettext(
            "{basis}; listed {range} USD/h by {n} provider, newest {day}",
            "{basis}; listed {range} USD/h by {n} providers, newest {day}",
            self.n_providers,
        ).format(
            basis=self.basis,
            range=self.shown_range,
            n=self.n_providers,
            day=self.newest.isoformat() if self.newest else gettext("no day"),
        )
        if not self.n_stale:
            return text
        return gettext("{price}, {stale} of {n} stale").format(price=text, stale=self.n_stale, n=self.n_providers)


def fitted_prices(listed: Sequence[Price]) -> dict[str, float]:
    """Return a price of each device at the median provider, from prices of which each provider lists only some.

    Least squares of log price = device + provider over one price for each provider and device: devices are compared
    through the providers that list both, so that a device is not dear because a dear provider is the only one to list
    it. Where the result contradicts all providers that list both of two devices, the two get one price. Devices that no
    chain of providers connects are fitted apart, each group at its own median provider.
    """
    fitted: dict[str, float] = {}
    for group in _connected(listed):
        known = {(p.provider, p.device_id): p.usd_per_gpu_hour for p in group}
        ordered = _agreed_order(known)
        one_price = {p.device_id: p.device_id for p in group}
        while True:
            effects = _device_effects(known, one_price)
            wrong = [(effects[a] - effects[b], a, b) for a, b in ordered if effects[a] > effects[b]]
            if not wrong:
                break
            _, a, b = max(wrong)
            one_price = {d: one_price[a] if same == one_price[b] else same for d, same in one_price.items()}
        fitted |= {name: exp(effect) for name, effect in effects.items()}
    return fitted


def _agreed_order(known: Mapping[tuple[str, str], float]) -> list[tuple[str, str]]:
    """Return the pairs of devices of which no provider that lists both asks more for the first, and one asks less."""
    by_device: dict[str, dict[str, float]] = {}
    for (provider, device), usd in known.items():
        by_device.setdefault(device, {})[provider] = usd
    pairs = []
    for a, b in permutations(sorted(by_device), 2):
        more = [by_device[b][p] - usd for p, usd in by_device[a].items() if p in by_device[b]]
        if more and min(more) >= 0 < max(more):
            pairs.append((a, b))
    return pairs


def _device_effects(known: Mapping[tuple[str, str], float], one_price: Mapping[str, str]) -> dict[str, float]:
    """Return the logarithm of each device's price at the median provider; devices of one name in ``one_price`` share it."""
    names, providers = sorted(set(one_price.values())), sorted({p for p, _ in known})
    design = np.zeros((len(known), len(names) + len(providers)))
    for row, (provider, device) in enumerate(known):
        design[row, names.index(one_price[device])] = 1
        design[row, len(names) + providers.index(provider)] = 1
    effects = np.linalg.lstsq(design, np.log(list(known.values())), rcond=None)[0]
    middle = float(np.median(effects[len(names) :]))
    return {device: float(effects[names.index(same)]) + middle for device, same in one_price.items()}


def _connected(listed: Sequence[Price]) -> list[list[Price]]:
    """Return the prices in groups that share neither a provider nor a device."""
    groups: list[list[Price]] = []
    for price in listed:
        touching = [g for g in groups if any(p.provider == price.provider or p.device_id == price.device_id for p in g)]
        joined = [p for g in touching for p in g] + [price]
        groups = [g for g in groups if g not in touching] + [joined]
    return groups


@cached_while_unchanged("prices.csv", "hardware.csv")
def device_prices() -> Mapping[str, DevicePrice]:
    """Return the price of every device that is listed, on one basis; the reader's own prices come before listed ones."""
    own = [p for row in own_price_rows() if (p := row.on_demand)]
    listed = listings(p for row in catalogue_price_rows() if (p := row.on_demand))
    n_providers = len({p.provider for p in listed})
    basis = gettext("estimated at the median of {n} providers").format(n=n_providers)
    fitted = {name: (float(f"{usd:.3g}"), basis) for name, usd in fitted_prices(listed).items()}
    for name in {p.device_id for p in own}:
        mine = listings(p for p in own if p.device_id == name)
        fitted[name] = (median(p.usd_per_gpu_hour for p in mine), gettext("your own price"))
        listed = [p for p in listed if p.device_id != name] + mine
    by_device = {name: [p for p in listed if p.device_id == name] for name in fitted}
    return {name: _device_price(by_device[name], usd, basis) for name, (usd, basis) in fitted.items()}


def _device_price(listed: Sequence[Price], usd: float, basis: str) -> DevicePrice:
    return DevicePrice(
        device_id=listed[0].device_id,
        usd_per_gpu_hour=usd,
        low=min(listed, key=lambda p: p.usd_per_gpu_hour),
        high=max(listed, key=lambda p: p.usd_per_gpu_hour),
        n_providers=len({p.provider for p in listed}),
        n_stale=sum(is_stale(p) for p in listed),
        newest=max((day for p in listed if (day := p.day)), default=None),
        basis=basis,
    )


def median_price(device_id: str) -> DevicePrice | None:
    """Return the price of a device at the median provider, or None when none is listed."""
    return device_prices().get(device_id)


def median_spot_price(device_id: str) -> Price | None:
    """Return a device's price on spot machines; None when none is listed."""
    return _share_of_on_demand(device_id, "spot_usd_h", gettext("spot"))


def median_reserved_price(device_id: str) -> Price | None:
    """Return a device's price on machines that are paid for a whole term, used or not; None when none is listed."""
    return _share_of_on_demand(device_id, "reserved_usd_h", gettext("reserved"))


def _share_of_on_demand(device_id: str, column: str, what: str) -> Price | None:
    """Return the price on demand times the median share of it that providers ask, each provider once.

    A listed price of another kind is compared with the price on demand of the same machine, never of another provider.
    """
    base = median_price(device_id)
    own = [row for row in own_price_rows() if row.hardware_id == device_id]
    shares: dict[str, list[tuple[float, PriceRow]]] = {}
    for row in own or catalogue_price_rows():
        usd, on_demand = getattr(row, column), row.on_demand
        if row.hardware_id == device_id and usd is not None and on_demand is not None:
            share = usd / row.gpu_count / on_demand.usd_per_gpu_hour
            shares.setdefault(row.provider, []).append((share, row))
    if base is None or not shares:
        return None
    middle = [_middle(each) for each in shares.values()]
    share, row = _middle(middle)
    term = f", {gettext(row.reserved_term)}" if column == "reserved_usd_h" and row.reserved_term else ""
    instance = gettext("{instance} {kind}: {percent} % of its price on demand").format(
        instance=row.instance, kind=f"{what}{term}", percent=f"{100 * share:.0f}"
    )
    return row.price(share * base.usd_per_gpu_hour, instance=instance.strip())


def _middle(ranked: Iterable[tuple[float, PriceRow]]) -> tuple[float, PriceRow]:
    ordered = sorted(ranked, key=lambda pair: pair[0])
    return ordered[(len(ordered) - 1) // 2]


@dataclass(frozen=True, slots=True, kw_only=True)
class _OwnPriceRow:
    """A line of the file that ``--prices`` names."""

    device_id: str
    usd_per_gpu_hour: float
    provider: str = gettext_noop("own price")
    date: str = gettext_noop("no date")


def own_prices(path: Path) -> dict[str, Price]:
    """Return the reader's own prices by device, from a CSV file with ``OWN_COLUMNS`` and, if wished, provider and date.

    Raises ``InvalidSpec`` when the file cannot be read, lacks a column, names no device of the catalogue, or has a price
    that is none.
    """
    try:
        rows = read_rows(path, _OwnPriceRow)
    except InvalidSpec as error:
        raise InvalidSpec(
            gettext("The prices cannot be read: {cause}").format(cause=error.cause),
            remedy=gettext("Give a CSV file with the columns {names} (and provider, date).").format(
                names=", ".join(OWN_COLUMNS)
            ),
        ) from error
    own = {
        r.device_id: Price(
            provider=r.provider,
            instance="",
            device_id=r.device_id,
            usd_per_gpu_hour=r.usd_per_gpu_hour,
            date=r.date,
            source=str(path),
        )
        for r in rows
    }
    odd = [d for d in own if d not in devices()]
    free = [d for d, p in own.items() if not (isfinite(p.usd_per_gpu_hour) and p.usd_per_gpu_hour > 0)]
    if odd or free or not own:
        what = (
            gettext("unknown devices: {names}").format(names=", ".join(odd))
            if odd
            else gettext("no price: {names}").format(names=", ".join(free) or gettext("no rows"))
        )
        hint = f" {did_you_mean(odd[0], devices())}" if odd else ""
        raise InvalidSpec(
            gettext("The prices {path} have {what}.{hint}").format(path=path, what=what, hint=hint),
            remedy=gettext("Use ids of `workbench devices list` and prices above zero."),
        )
    return own
