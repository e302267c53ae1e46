"""Parquet files with a column of encoded images, or of texts: one, or a folder of `train*.parquet`, `test*.parquet`."""

from __future__ import annotations

import json
import logging
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bodh.contracts import Source
from bodh.errors import BadRecord, DataError
from bodh.records.ids import Numbered, natural_key, pick
from bodh.records.labels import Labels, as_numbers, encode_labels, encode_lists, read_class_names
from bodh.records.sources._columns import Table, label_columns, text_columns
from bodh.records.sources._groups import part_and_group
from bodh.records.sources._parts import SPLIT_WORDS, file_digest, split_of

_log = logging.getLogger("bodh")

SUFFIXES = (".parquet", ".pq")
INPUTS = ("image", "img", "images", "picture", "photo", "bytes", "jpg", "png")
_LABELS = ("label", "labels", "class", "classes", "target", "targets", "y", "category", "fine_label")
_GROUPS_KEPT = 2
"""Row groups that a process keeps decompressed; sequential reading needs one."""


def accepts(location: Any) -> bool:
    """Whether `location` is a Parquet file or a folder that holds some (itself, in `data/` or in split folders)."""
    if not isinstance(location, Path):
        return False
    return location.suffix.lower() in SUFFIXES if location.is_file() else bool(files_of(location))


def open_(location: Path, *, input: str | None, label: str | None, modality: str | None) -> Source:  # noqa: A002
    """Open Parquet files; only their schemas and label columns are read.

    Args:
        location: file or folder.
        input: column of the images: binary, or a struct with the binary field "bytes"; or of the texts.
        label: column of the labels: numbers, words, or lists of them; several columns of measured numbers: "x,y".
        modality: "image" or "text"; by default images where there is a column of them.

    Raises:
        DataError: a file is damaged, columns are missing or differ between files, or the labels are no classes.
    """
    if modality not in (None, "image", "text"):
        raise DataError(
            f"Parquet files are read as images or texts, not as modality={modality!r}; give vectors as .npz or .npy"
        )
    files = files_of(location) if location.is_dir() else [location]
    return ParquetSource(location, files, input=input, label=label, modality=modality)


def image_columns(path: Path) -> list[str]:
    """Return the columns of encoded images.

    Raises:
        DataError: the file is damaged.
    """
    with _open_file(path) as file:
        return [field.name for field in file.schema_arrow if _image_field(field)]


def tables_of(location: Path, *, images: bool = True) -> Iterator[Table]:
    """Yield the rows of a file, or of the files of a folder, with all their columns, or those without images.

    Raises:
        DataError: a file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in files_of(location) if location.is_dir() else [location]:
        try:
            aside = set() if images else set(image_columns(path))
            kept = [name for name in pq.read_schema(path).names if name not in aside]
            columns = pq.read_table(path, columns=kept).to_pydict()
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path.name!r} cannot be read: {' '.join(str(error).split())[:200]}") from error
        part = part_and_group(path.stem)[0] or SPLIT_WORDS.get(path.parent.name.casefold())
        yield Table(path.name, part, columns, range(pq.read_metadata(path).num_rows), lines=False)


class ParquetSource:
    """Images or texts in Parquet files, read by row group; rows with an empty text are left out."""

    in_memory = False

    def __init__(
        self,
        location: Path,
        files: list[Path],
        *,
        input: str | None,  # noqa: A002
        label: str | None,
        modality: str | None,
    ) -> None:
        self.name = location.resolve().name if location.is_dir() else location.stem
        self.origin = str(location.resolve())
        self.files = files
        self.notes: list[str] = []
        opened = [_open_file(path) for path in files]
        self.modality = _modality(opened[0].schema_arrow, modality)
        if self.modality == "text":
            table = _sample(files[0], opened[0])
            names, why = text_columns(table, input, label)
            self.column, chosen = names[0], label_columns([table], label, names)[0]
            if len(names) > 1:
                raise DataError(f"texts of Parquet come from one column; choose one of: {', '.join(names)}")
        else:
            self.column, why = _input_column(files[0], opened[0].schema_arrow, input), ""
            chosen = _label_columns(files[0], opened[0].schema_arrow, label, self.column.split(".")[0])
        for path, file in zip(files, opened, strict=True):
            if self.column.split(".")[0] not in file.schema_arrow.names:
                raise DataError(
                    f"{path.name!r} has no column {self.column.split('.')[0]!r}, which {files[0].name!r} has"
                )
            absent = sorted(set(chosen) - set(file.schema_arrow.names))
            if absent:
                self.notes.append(f"{path.name} has no column {absent[0]!r}: its records have no label")
        groups = [[file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)] for file in opened]
        self._groups = [(number, group) for number, rows in enumerate(groups) for group in range(len(rows))]
        self._stops = np.cumsum([count for rows in groups for count in rows], dtype=np.int64)
        counts = [sum(rows) for rows in groups]
        if not sum(counts):
            raise DataError(f"{self.name!r} holds no rows")
        self.ids: Sequence[str] = Numbered([(path.name, count) for path, count in zip(files, counts, strict=True)])
        splits = [split_of(path.name) or SPLIT_WORDS.get(path.parent.name.casefold()) for path in files]
        if len({split for split in splits if split}) < 2:
            splits = ["train"] * len(files)
        self.splits = np.repeat(np.array([split or "train" for split in splits]), counts)
        self.targets: np.ndarray | None = None
        self.class_names: tuple[str, ...] = ()
        if chosen:
            self.targets, self.class_names = _labels_of(files, opened, chosen, self.name)
        self._kept: np.ndarray | None = None
        if self.modality == "text":
            self._leave_out(np.concatenate([_empty(file, self.column) for file in opened]))
        self.fingerprint = file_digest(
            files, self.column, *(str(file.metadata.to_dict()["created_by"]) for file in opened)
        )
        labelled = f"labels from column {', '.join(map(repr, chosen))}" if chosen else "no labels"
        shown = ", ".join(path.name for path in files[:4])
        what = f"{self.modality}s from column {self.column.split('.')[0]!r}" + (f" ({why})" if why else "")
        self.reading = f"Parquet ({shown}), {what}, {labelled}"
        _log.info("%s: %s", self.name, self.reading)
        for file in opened:
            file.close()
        self._tables: OrderedDict[int, Any] = OrderedDict()

    def _leave_out(self, empty: np.ndarray) -> None:
        """Leave out rows `[n]` without a text."""
        count = int(empty.sum())
        if count == len(empty):
            raise DataError(f"{self.name!r} holds no texts: column {self.column!r} is empty in every row")
        if not count:
            return
        self._kept = np.flatnonzero(~empty)
        self.ids, self.splits = pick(self.ids, self._kept), self.splits[self._kept]
        self.targets = None if self.targets is None else self.targets[self._kept]
        self.notes.append(f"{count:,} empty row{'' if count == 1 else 's'} left out")

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        """Leave decompressed row groups behind: a worker reads its own."""
        return self.__dict__ | {"_tables": OrderedDict(), "targets": None, "splits": np.empty(0, "<U5")}

    def read(self, index: int) -> bytes:
        """Return the encoded image, or the text in UTF-8, of row `index`.

        Raises:
            BadRecord: the row has no image, or its row group is damaged.
        """
        if self._kept is not None:
            index = int(self._kept[index])
        group = bisect_right(self._stops, index)
        start = int(self._stops[group - 1]) if group else 0
        value = self._table(group)[index - start].as_py()
        if not value:
            raise BadRecord(f"no {self.modality} in this row")
        return value.encode() if isinstance(value, str) else bytes(value)

    def _table(self, group: int) -> Any:
        if group not in self._tables:
            import pyarrow as pa

            number, inner = self._groups[group]
            try:
                table = _open_file(self.files[number]).read_row_group(inner, columns=[self.column])
            except (OSError, pa.ArrowException) as error:
                raise BadRecord(
                    f"row group {inner} of {self.files[number].name} cannot be read: {_line(error)}"
                ) from error
            column = table.column(0)
            for field in self.column.split(".")[1:]:
                import pyarrow.compute as pc

                column = pc.struct_field(column, field)
            self._tables[group] = column.combine_chunks() if column.nbytes < 2**31 else column
            while len(self._tables) > _GROUPS_KEPT:
                self._tables.popitem(last=False)
        return self._tables[group]


def files_of(folder: Path) -> list[Path]:
    """Return the Parquet files of a folder, those for training first: in itself, in `data/` or in split folders."""
    places = [
        folder,
        folder / "data",
        *sorted(p for p in folder.iterdir() if p.is_dir() and p.name.casefold() in SPLIT_WORDS),
    ]
    for place in (places[:1], places[1:2], places[2:]):
        found = [path for here in place if here.is_dir() for path in here.iterdir()]
        files = [
            path
            for path in found
            if path.suffix.lower() in SUFFIXES and not path.name.startswith((".", "_")) and path.is_file()
        ]
        if files:
            order = {"train": 0, None: 0, "val": 1, "test": 2}
            return sorted(
                files, key=lambda path: (order[split_of(path.name)], str(path.parent), natural_key(path.name))
            )
    return []


def _open_file(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, memory_map=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path.name!r} is no readable Parquet file: {_line(error)}") from error


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _binary(kind: Any) -> bool:
    import pyarrow.types as pt

    return bool(
        pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind) or pt.is_binary_view(kind)
    )


def _modality(schema: Any, modality: str | None) -> str:
    """Return what is read: texts where that was asked for, or where there are some and no images."""
    if modality is not None:
        return modality
    if any(_image_field(field) for field in schema):
        return "image"
    return "text" if any(_is_text(field.type) for field in schema) else "image"


def _is_text(kind: Any) -> bool:
    import pyarrow.types as pt

    kind = kind.value_type if pt.is_dictionary(kind) else kind
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def _sample(path: Path, file: Any) -> Table:
    """Return the first rows as a table by which columns are chosen; columns of bytes are left out."""
    names = [field.name for field in file.schema_arrow if not _image_field(field)]
    batch = next(file.iter_batches(batch_size=1000, columns=names), None)
    columns = {} if batch is None else {name: batch.column(name).to_pylist() for name in names}
    return Table(path.name, None, columns, range(0 if batch is None else batch.num_rows))


def _empty(file: Any, column: str) -> np.ndarray:
    """Return [rows] bool, which texts are missing or blank."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = [np.zeros(0, bool)]
    for group in range(file.num_row_groups):
        values = file.read_row_group(group, columns=[column]).column(0)
        text = values.cast(pa.large_string()).fill_null("")
        found.append(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(text)), 0).to_numpy(zero_copy_only=False))
    return np.concatenate(found)


def _image_field(field: Any) -> str | None:
    """Return the path of the bytes in a column of encoded images, or None."""
    import pyarrow.types as pt

    if _binary(field.type):
        return str(field.name)
    if pt.is_struct(field.type) and any(inner.name == "bytes" and _binary(inner.type) for inner in field.type):
        return f"{field.name}.bytes"
    return None


def _input_column(path: Path, schema: Any, wanted: str | None) -> str:
    able = {field.name: place for field in schema if (place := _image_field(field))}
    columns = ", ".join(f"{field.name} ({str(field.type)[:40]})" for field in schema)
    if wanted is not None:
        if wanted not in able:
            raise DataError(
                f"{path.name!r} has no image column input={wanted!r}; its columns are: {columns}; "
                "for texts type data.modality=text"
            )
        return able[wanted]
    if not able:
        raise DataError(
            f"{path.name!r} has neither a column of texts (string) nor one of encoded images (binary, or struct with "
            f"bytes); its columns are: {columns}"
        )
    known = [name for name in able if name.casefold() in INPUTS]
    if len(able) > 1 and len(known) != 1:
        raise DataError(f"{path.name!r} has several image columns: {', '.join(able)}; choose one with input=NAME")
    return able[known[0] if known else next(iter(able))]


def _label_columns(path: Path, schema: Any, wanted: str | None, taken: str) -> list[str]:
    if wanted is not None:
        if wanted.casefold() == "none":
            return []
        names = [wanted] if wanted in schema.names else [name.strip() for name in wanted.split(",")]
        for name in names:
            if name not in schema.names:
                raise DataError(
                    f"{path.name!r} has no column label={name!r}; its columns are: {', '.join(schema.names)}"
                )
        return names
    found = (name for known in _LABELS for name in schema.names if name.casefold() == known and name != taken)
    return list(found)[:1]


def _labels_of(files: list[Path], opened: list[Any], columns: list[str], owner: str) -> Labels:
    """Return the labels in one column, or measured numbers of several."""
    if len(columns) == 1:
        return _read_labels(files, opened, columns[0], owner)
    parts = []
    for column in columns:
        values, names = _read_labels(files, opened, column, owner)
        if values.ndim == 2:
            raise DataError(f"column {column!r} of {owner!r} holds lists; several columns must hold numbers each")
        parts.append(as_numbers(values, names, owner=f"column {column!r} of {owner!r}")[0])
    return np.stack(parts, axis=1), tuple(columns)


def _read_labels(files: list[Path], opened: list[Any], column: str, owner: str) -> Labels:
    import pyarrow as pa
    import pyarrow.types as pt

    try:
        having = [file for file in opened if column in file.schema_arrow.names]
        kind = having[0].schema_arrow.field(column).type
        chunks = [
            file.read(columns=[column]).column(0) if file in having else pa.nulls(file.metadata.num_rows, kind)
            for file in opened
        ]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"column {column!r} of {owner!r} cannot be read: {_line(error)}") from error
    names = read_class_names(files[0].parent) or schema_names(opened[0].schema_arrow, column)
    what = f"column {column!r} of {owner!r}"
    if pt.is_nested(chunks[0].type):
        if not (pt.is_list(chunks[0].type) or pt.is_large_list(chunks[0].type)):
            raise DataError(f"{what} is of type {chunks[0].type}; labels are numbers, words, or lists of them")
        return encode_lists([row for chunk in chunks for row in chunk.to_pylist()], names, owner=what)
    if pt.is_integer(chunks[0].type):
        values = np.concatenate([chunk.fill_null(-1).to_numpy().astype(np.int64) for chunk in chunks])
    elif pt.is_floating(chunks[0].type):
        values = np.concatenate([chunk.fill_null(float("nan")).to_numpy() for chunk in chunks])
    else:
        values = np.array([row for chunk in chunks for row in chunk.to_pylist()], dtype=object)
    return encode_labels(values, names, owner=what, called=(column,))


def schema_names(schema: Any, column: str) -> tuple[str, ...]:
    """Return class names that Hugging Face's writer leaves in the schema's metadata."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"][column]
        feature = features.get("feature", features)
        return tuple(str(name) for name in feature.get("names") or ())
    except (KeyError, TypeError, AttributeError, ValueError):
        return ()
