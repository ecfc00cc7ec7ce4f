"""The part of a bundle that ranking reads.

    ranking/signals.npy                  float32 [num_items, len(SIGNALS)], rows as the candidates
    ranking/<table>/starts.npy           int64 [num_items + 1]
    ranking/<table>/neighbours.npy       int32 [num_entries], rows of candidates
    ranking/<table>/weights.npy          float32 [num_entries]
    ranking/ranker.safetensors           float32 "<i>.kernel" and "<i>.bias" of its layers
    ranking/fusion.json                  a `CalibratedFusion`

The last two may be missing: no ranker was trained, the fusion was not calibrated. See
`item_neighbours.NeighbourTable` and `ranker.Ranker` for the meaning of the others. The SavedModel
has the ranker too, as its signature `rank`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from serving.bundle import Bundle, BundleError, Manifest, RankingPart, invalid, read_array
from serving.item_rows import ItemRows
from serving.ranking.calibrated_fusion import CalibratedFusion
from serving.ranking.feature_names import feature_names
from serving.ranking.live_ranking import LiveRanking
from serving.ranking.ranker import DenseLayer, Ranker
from serving.signals.item_neighbours import ItemNeighbours, NeighbourTable
from serving.signals.item_signals import SIGNALS, ItemSignals

FOLDER = "ranking"
RANKER = "ranker.safetensors"
FUSION = "fusion.json"


@dataclass(frozen=True, slots=True, eq=False)
class RankingData:
    """Tables by the source that reads them, and signals float32 [num_items, len(SIGNALS)].

    sources: those whose scores the ranker reads, in order. layers: its network. Both are empty
    where there is no ranker. objectives: as in `Ranker`. fusion: what the training has learned of
    it, None where nothing. taking, weightless: as in `LiveRanking`.
    """

    tables: Mapping[str, NeighbourTable]
    signals: npt.NDArray[np.float32]
    sources: tuple[str, ...] = ()
    layers: tuple[DenseLayer, ...] = ()
    objectives: Mapping[str, float] = field(default_factory=dict)
    fusion: CalibratedFusion | None = None
    taking: tuple[str, ...] = ()
    weightless: tuple[str, ...] = ()

    @property
    def part(self) -> RankingPart:
        """What the manifest says of it."""
        return RankingPart(
            tables={name: table.days for name, table in self.tables.items()},
            events={name: table.events for name, table in self.tables.items() if table.events},
            signals=SIGNALS,
            taking=self.taking,
            weightless=self.weightless,
            sources=self.sources,
            features=feature_names(self.sources) if self.sources else (),
            objectives=dict(self.objectives) if len(self.objectives) > 1 else {},
        )


def write_ranking(folder: Path, data: RankingData) -> None:
    """Write the files into a bundle that is being built in `folder`."""
    (folder / FOLDER).mkdir()
    np.save(folder / FOLDER / "signals.npy", data.signals, allow_pickle=False)
    for name, table in data.tables.items():
        (folder / FOLDER / name).mkdir()
        for column in ("starts", "neighbours", "weights"):
            file = folder / FOLDER / name / f"{column}.npy"
            np.save(file, getattr(table, column), allow_pickle=False)
    if data.layers:
        arrays = {
            f"{number}.{name}": np.ascontiguousarray(getattr(layer, name), dtype=np.float32)
            for number, layer in enumerate(data.layers)
            for name in ("kernel", "bias")
        }
        save_file(arrays, folder / FOLDER / RANKER)
    if data.fusion is not None:
        document = data.fusion.model_dump_json(indent=1) + "\n"
        (folder / FOLDER / FUSION).write_text(document, "utf-8")


def read_ranking(bundle: Bundle, rows: ItemRows) -> LiveRanking | None:
    """Return what `bundle` ranks by over the live `rows`, which hold its candidates.

    None where it has nothing. Raises `BundleError` naming the file and the reason.
    """
    part = bundle.manifest.ranking
    if part is None:
        return None
    folder, manifest = bundle.path / FOLDER, bundle.manifest
    _check_names(bundle.path, part)
    signals = read_array(folder / "signals.npy", np.dtype(np.float32))
    if signals.shape != (manifest.num_items, len(SIGNALS)):
        raise BundleError(
            folder / "signals.npy",
            f"must have shape [{manifest.num_items}, {len(SIGNALS)}]. "
            f"Received: {list(signals.shape)}.",
        )
    candidate_rows = rows.rows_of(bundle.candidate_ids)
    tables = {
        name: ItemNeighbours(
            _read_table(folder / name, part, manifest.num_items), candidate_rows, rows
        )
        for name in part.tables
    }
    ranker = None
    if part.sources:
        layers = _read_layers(folder / RANKER, len(part.features), len(part.objectives) or 1)
        ranker = Ranker(part.sources, layers, part.objectives)
    fusion = read_fusion(bundle.path, manifest)
    placed = ItemSignals.of(signals, candidate_rows, rows)
    return LiveRanking(tables, placed, ranker, fusion, part.taking, part.weightless)


def read_fusion(path: Path, manifest: Manifest) -> CalibratedFusion | None:
    """Return what the bundle at `path` has learned of the fusion; None of one that has not.

    Raises `BundleError` naming the file and the reason.
    """
    file = path / FOLDER / FUSION
    if f"{FOLDER}/{FUSION}" not in manifest.files:
        return None
    try:
        return CalibratedFusion.model_validate_json(file.read_bytes())
    except OSError as error:
        raise BundleError(file, f"cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise invalid(file, error) from None


def _check_names(path: Path, part: RankingPart) -> None:
    """Refuse what was made for other signals or features: numbers of another meaning."""
    expected = feature_names(part.sources) if part.sources else ()
    for name, received, known in (
        ("signals", part.signals, SIGNALS),
        ("features", part.features, expected),
    ):
        if tuple(received) != known:
            raise BundleError(
                path / "manifest.json",
                f"`ranking.{name}` must be {list(known)}. Received: {list(received)}.",
            )


def _read_layers(file: Path, num_features: int, num_objectives: int) -> list[DenseLayer]:
    try:
        arrays = load_file(file)
    except (OSError, SafetensorError) as error:
        raise BundleError(file, f"cannot be read: {error}.") from error
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise BundleError(file, f"`{name}` must be finite float32 numbers.")
    layers: list[DenseLayer] = []
    num_inputs = num_features
    while f"{len(layers)}.kernel" in arrays:
        kernel, bias = (arrays.get(f"{len(layers)}.{name}") for name in ("kernel", "bias"))
        if kernel is None or bias is None or kernel.shape != (num_inputs, *bias.shape):
            raise BundleError(file, f"layer {len(layers)} must take {num_inputs} numbers.")
        num_inputs = len(bias)
        layers.append(DenseLayer(kernel, bias))
    if not layers or num_inputs != num_objectives:
        raise BundleError(
            file,
            f"must end in {num_objectives} numbers, one for each objective. "
            f"Received: {num_inputs}.",
        )
    return layers


def _read_table(folder: Path, part: RankingPart, num_items: int) -> NeighbourTable:
    starts = read_array(folder / "starts.npy", np.dtype(np.int64))
    neighbours = read_array(folder / "neighbours.npy", np.dtype(np.int32))
    weights = read_array(folder / "weights.npy", np.dtype(np.float32))
    if starts.shape != (num_items + 1,) or starts[0] != 0 or (np.diff(starts) < 0).any():
        raise BundleError(
            folder / "starts.npy",
            f"must be {num_items + 1} ascending numbers from 0. "
            f"Received: shape {list(starts.shape)}.",
        )
    for name, column in (("neighbours", neighbours), ("weights", weights)):
        if column.shape != (starts[-1],):
            raise BundleError(
                folder / f"{name}.npy",
                f"must have shape [{starts[-1]}]. Received: {list(column.shape)}.",
            )
    if len(neighbours) and not 0 <= neighbours.min() <= neighbours.max() < num_items:
        raise BundleError(folder / "neighbours.npy", "names a candidate that there is not.")
    name = folder.name
    days, events = part.tables[name], part.events.get(name, 0.0)
    return NeighbourTable(starts, neighbours, weights, days, events)
