"""What is in a data set, and what is wrong with it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from bodh import _catalog

if TYPE_CHECKING:
    from bodh.config.base import Config
    from bodh.contracts import Modality, Source
    from bodh.records.check import DataReport

logger = logging.getLogger("bodh")


def data(data: Any, *, check: bool = True, forget: bool = False, **settings: Any) -> DataReport:
    """Tell what is in DATA, how it is read, what is broken, and what is double.

    Every record is decoded once; later commands find the decoded records in the cache folder. Nothing is changed.

    Args:
        data: a folder of images, a .parquet, .npz, .npy or idx file or a folder of these, or a name such as
            sklearn:digits; in Python also an array or a pair (X, y).
        check: read all records, to find broken files and duplicates, also between train and test; without it
            only names, parts and labels are looked at.
        forget: delete what earlier commands have decoded of DATA, and set its disk space free.
        **settings: input=COLUMN and label=COLUMN choose what is read; also data.cache, data.workers, modality.*.

    Returns:
        records, parts, classes, sizes, formats, findings, broken records, duplicates.

    Raises:
        DataError: nothing is there, or nothing of it can be read.
        ConfigError: a setting is unknown.

    Example:
        bodh data photos/
        bodh data train.parquet label=breed
        bodh data photos/ --forget
    """
    from bodh.api._training import open_data
    from bodh.records.cache import forget as forget_stores
    from bodh.records.check import check as check_records
    from bodh.records.check import describe
    from bodh.records.store import open_store

    config, rest = _data_config(settings)
    source = open_data(data, config)
    if forget:
        report = describe(source)
        report.freed = forget_stores(source, config.cache)
        logger.info("%s: %.1f MB set free", source.name, report.freed / 1e6)
        return report
    settings_of_modality = _modality_config(source, rest)
    if not check:
        return describe(source)
    modality = cast("Modality", _catalog.get("modalities", source.modality).Modality.fit(source, settings_of_modality))
    budget = None if config.budget_gb is None else int(config.budget_gb * 1e9)
    # broken records are what is looked for here, so that any share of them is borne with
    store = open_store(source, modality, cache=config.cache, workers=config.workers, budget=budget, tolerance=1.0)
    return check_records(source, store)


def _data_config(settings: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the settings of DATA (with or without "data." in front) and what is left: the modality's."""
    from bodh.api._settings import DataConfig
    from bodh.config.resolve import resolve

    rest = {key: value for key, value in settings.items() if key.startswith("modality.")}
    own = {key.removeprefix("data."): value for key, value in settings.items() if key not in rest}
    return resolve(own, {"": DataConfig})[""], rest


def _modality_config(source: Source, settings: Mapping[str, Any]) -> Config:
    """Return the modality's settings as training would have them, so that both share the decoded records."""
    from bodh.config.resolve import resolve
    from bodh.model.modality import config_class

    module = _catalog.get("modalities", source.modality)
    return resolve(settings, {"modality": cast("type[Config]", config_class(module))})["modality"]
