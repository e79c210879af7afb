"""The invented city: the same from the same seed, its areas fit, its codes have their form, its names are hard."""

import csv
import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import shapely

from callcenter.city import invented_names as names
from callcenter.city.invented import DEMO, City, Place, Sizes, invent, main, write
from callcenter.city.units import CODE
from classifier import taxonomy
from classifier.sounds import sound

pytestmark = pytest.mark.unit

VILLAGE = Sizes(
    micro_grids=64,
    units=120,
    assets=500,
    addresses=3000,
    houses=300,
    people=400,
    enterprises=40,
    cameras=12,
    risk_sources=8,
    area_km2=3.0,
    districts=2,
    streets=4,
    communities=12,
    independent=2,
    police=4,
    sanitation=6,
    market=4,
    avenues=4,
    roads=50,
    estates=40,
    points=150,
)
"""Everything a city has, in a second."""
FILES = {
    "areas.geojson",
    "units.csv",
    "places.geojson",
    "addresses.csv",
    "assets.csv",
    "houses.csv",
    "people.csv",
    "enterprises.csv",
    "cameras.csv",
    "risk_sources.csv",
}


@pytest.fixture(scope="module")
def city() -> City:
    return invent(7, DEMO)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small city's files."""
    written = tmp_path_factory.mktemp("village")
    write(invent(7, VILLAGE), written)
    return written


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def heard(name: str) -> tuple[str, ...]:
    return tuple(map(sound, name))


def test_the_same_seed_writes_the_same_bytes_and_another_one_others(folder: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    write(invent(7, VILLAGE), tmp_path / "again", lambda name, count: told.append((name, count)))
    write(invent(8, VILLAGE), tmp_path / "other")
    assert {path.name for path in folder.iterdir()} == FILES == {name for name, _ in told}
    assert dict(told)["people.csv"] == VILLAGE.people
    for name in FILES:
        first = (folder / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == first
        assert (tmp_path / "other" / name).read_bytes() != first or name == "units.csv"


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_any_seed_makes_a_city(seed: int) -> None:
    made = invent(seed, VILLAGE)
    assert sum(area.level == 5 for area in made.areas) == VILLAGE.micro_grids
    leaves = [area.shape for area in made.areas if area.level == 5]
    assert shapely.coverage_is_valid(leaves)


def test_each_level_and_layer_is_a_coverage(city: City) -> None:
    count = Counter((area.layer, area.level) for area in city.areas)
    assert count == {
        ("unit", 1): 1,
        ("unit", 2): 5,
        ("unit", 3): 30,
        ("unit", 4): 180,
        ("unit", 5): 931,
        ("police", 4): 25,
        ("sanitation", 4): 40,
        ("market", 4): 20,
    }
    for layer, level in count:
        shapes = [area.shape for area in city.areas if (area.layer, area.level) == (layer, level)]
        assert all(shape.geom_type == "Polygon" and shape.is_valid for shape in shapes)
        assert shapely.coverage_is_valid(shapes), (layer, level)


def test_children_fill_their_parent_and_nothing_else(city: City) -> None:
    by_code = {area.code: area for area in city.areas}
    assert len(by_code) == len(city.areas)
    children = defaultdict(list)
    for area in city.areas:
        if area.parent:
            children[area.parent, area.layer].append(area.shape)
    for (parent, layer), shapes in children.items():
        whole = by_code[parent].shape
        assert shapely.symmetric_difference(shapely.coverage_union_all(shapes), whole).area == 0, (parent, layer)
        assert sum(shape.area for shape in shapes) == pytest.approx(whole.area, rel=1e-9)


def test_layers_cut_across_communities(city: City) -> None:
    for layer in ("sanitation", "market"):
        cut = sum(
            shapely.intersection(a.shape, b.shape).area > 0.05 * b.shape.area
            and shapely.difference(b.shape, a.shape).area > 0.05 * b.shape.area
            for a in city.areas
            if a.layer == layer
            for b in city.areas
            if b.level == 4 and b.layer == "unit" and b.parent and b.parent.startswith(str(a.parent))
        )
        assert cut > 10


def test_area_codes_are_those_of_the_standard_and_name_their_parent(city: City) -> None:
    digits = {1: 6, 2: 6, 3: 9, 4: 12, 5: 15}
    for area in city.areas:
        if area.layer == "unit":
            assert re.fullmatch(rf"9908\d{{{digits[area.level] - 4}}}", area.code)
            assert area.parent == {1: None, 2: "990800"}.get(area.level, area.code[:-3])
        else:
            assert re.fullmatch(r"99080[1-9][PSM]\d\d", area.code)
            assert area.parent == area.code[:6]
        assert CODE.fullmatch(area.code)
        assert len(area.name) <= 80


def test_an_independent_micro_grid_is_a_hole_in_the_one_around_it(city: City) -> None:
    grids = [area for area in city.areas if area.level == 5]
    own = [grid for grid in grids if grid.name.endswith("独立网格")]
    holes = [shapely.Polygon(ring) for grid in grids for ring in grid.shape.interiors]
    assert len(own) == len(holes) == 15
    for grid in own:
        assert sum(grid.shape.equals(hole) for hole in holes) == 1
        inside = [place.name for place in city.places if grid.shape.contains(place.shape)]
        assert grid.name.removesuffix("独立网格") in inside


def test_it_is_as_large_as_asked(city: City) -> None:
    assert len(city.units) == DEMO.units
    for name, table in city.tables.items():
        assert {len(column) for column in table.values()} == {getattr(DEMO, name)}, name
    kinds = Counter(place.kind for place in city.places)
    assert kinds["road"] == DEMO.roads >= 300
    assert kinds["estate"] == DEMO.estates >= 400
    assert kinds.total() - kinds["road"] - kinds["estate"] == DEMO.points >= 1200
    assert {"poi", "stop", "bridge", "park", "river"} < set(kinds)


def test_every_point_lies_in_one_micro_grid(city: City) -> None:
    tree = shapely.STRtree([area.shape for area in city.areas if area.level == 5])
    for name in ("addresses", "assets", "cameras", "risk_sources"):
        table = city.tables[name]
        points, _ = tree.query(shapely.points(table["lon"], table["lat"]), predicate="intersects")
        assert np.array_equal(np.unique(points), np.arange(len(table["lon"]))), name
        assert len(points) < len(table["lon"]) * 1.001  # a border is a rare place
    spots = [place.shape for place in city.places if place.kind != "road"]
    assert len(np.unique(tree.query(spots, predicate="intersects")[0])) == len(spots)


def test_numbers_run_along_the_road_odd_on_one_side_even_on_the_other(city: City) -> None:
    table, road = city.tables["addresses"], city.places[0]
    assert isinstance(road.shape, shapely.LineString)
    on = np.flatnonzero(table["place"] == 0)
    points, numbers = shapely.points(table["lon"][on], table["lat"][on]), table["number"][on]
    assert len(on) > 100
    metres = shapely.distance(points, road.shape) * 100_000
    assert metres.min() > 8
    assert metres.max() < 16
    for side in (1, 0):
        along = shapely.line_locate_point(road.shape, points[numbers % 2 == side])
        assert (np.diff(along) > -1e-5).all()
        assert (np.diff(numbers[numbers % 2 == side]) >= 2).all()


def test_in_estates_there_are_buildings_and_doors(city: City) -> None:
    table = city.tables["addresses"]
    in_estate = np.array([place.kind == "estate" for place in city.places])[table["place"]]
    assert ((table["number"] == 0) == in_estate).all()
    assert (table["building"][in_estate] >= 1).all()
    assert set(np.unique(table["door"][in_estate])) == {1, 2, 3, 4}
    for key in ("building", "door"):
        assert not table[key][~in_estate].any()
    assert len(np.unique(table["place"][in_estate])) == DEMO.estates
    triples = np.stack([table[key] for key in ("place", "number", "building", "door")])
    assert len(np.unique(triples, axis=1)[0]) == DEMO.addresses


def test_word_lists_of_names_that_sound_alike_do() -> None:
    for group in (*names.SOUND_ALIKE_ROADS, *names.SOUND_ALIKE_ESTATES):
        assert len(set(group)) == len(group) > 1
        assert len({heard(name) for name in group}) == 1, group


def test_many_names_are_told_apart_by_sight_alone(city: City) -> None:
    groups: dict[tuple[str, ...], list[Place]] = defaultdict(list)
    for place in city.places:
        groups[heard(place.name)].append(place)
    alike = [group for group in groups.values() if len({place.name for place in group}) > 1]
    apart = [
        group
        for group in alike
        for one, other in combinations(group, 2)
        if one.name != other.name and one.shape.distance(other.shape) > 0.003
    ]
    assert len(alike) >= 60
    assert len(apart) >= 60
    roads = {place.name for place in city.places if place.kind == "road"}
    stems = Counter(re.sub("[路巷里弄街]$", "", name) for name in roads)
    assert sum(count > 1 for count in stems.values()) >= 20


def test_a_name_may_be_found_in_two_districts_but_not_twice_in_one(city: City) -> None:
    districts = [area for area in city.areas if area.level == 2]
    where: dict[str, list[str]] = defaultdict(list)
    for place in city.places:
        if place.kind not in ("road", "estate", "river"):
            where[place.name] += [d.code for d in districts if d.shape.contains(place.shape)]
    assert all(len(set(codes)) == len(codes) for codes in where.values())
    assert len(where["实验小学"]) > 1
    assert sum(len(codes) > 1 for codes in where.values()) > 20
    others = Counter(place.name for place in city.places if place.kind in ("road", "estate"))
    assert set(others.values()) == {1}


def test_every_department_of_the_taxonomies_is_a_unit_of_the_city(city: City) -> None:
    level1 = {unit.name: unit for unit in city.units if unit.level == 1}
    leads = set()
    for standard in (taxonomy.DEFAULT_STANDARD, taxonomy.SOCIAL):
        leads |= {entry.lead for entry in taxonomy.load(standard).entries if entry.department}
    assert leads - names.ROLES <= set(level1)
    assert leads & names.ROLES == {"街道"}  # the street a case lies in
    assert {name for name, unit in level1.items() if unit.kind == "utility"} == names.UTILITIES
    codes = {unit.code: unit for unit in city.units}
    areas = {area.code: area for area in city.areas}
    assert len(codes) == len(city.units) == len({unit.duty_phone for unit in city.units})
    for unit in city.units:
        assert CODE.fullmatch(unit.code)
        assert not unit.parent or codes[unit.parent].level < unit.level
        assert (unit.level == 2) == bool(unit.parent)
        assert unit.area in areas or not unit.area
        assert re.fullmatch(r"0724-000\d{4}", unit.duty_phone)
        assert unit.round_the_clock or unit.kind != "utility"
    streets = [unit.area for unit in city.units if unit.kind == "street"]
    assert sorted(streets) == sorted(area.code for area in city.areas if area.level == 3)


def test_parts_carry_sixteen_digits_and_belong_to_who_answers_for_them(folder: Path) -> None:
    parts = {e.category.minor: e for e in taxonomy.load().entries if e.category.kind == "part"}
    units = {row["code"]: row for row in rows(folder, "units")}
    found = rows(folder, "assets")
    assert len(found) == len({row["code"] for row in found}) == VILLAGE.assets
    for row in found:
        assert re.fullmatch(r"99080[12]\d{10}", row["code"])
        part = parts[row["name"]]
        assert row["code"][6:10] == part.category.code
        assert units[row["owner"]]["name"] == part.lead
        assert row["keeper"] == row["owner"] or units[row["keeper"]]["parent"] == row["owner"]
        assert row["tag"] in ("", "QR" + row["code"])
    assert 0.2 < sum(bool(row["tag"]) for row in found) / len(found) < 0.45


def test_nobody_in_it_is_real(folder: Path) -> None:
    addresses = {row["code"] for row in rows(folder, "addresses")}
    houses = {row["code"]: row for row in rows(folder, "houses")}
    people, enterprises = rows(folder, "people"), rows(folder, "enterprises")
    assert {row["address"] for row in houses.values()} <= addresses
    for row in people:
        assert re.fullmatch(r"990801\d{11}[0-9X]", row["id_number"])
        assert row["id_number"][6:10] == row["birth_year"]
        assert (int(row["id_number"][16]) % 2 == 1) == (row["gender"] == "男")
        assert row["house"] in houses
    assert all(re.fullmatch(r"00990801\d{10}", row["code"]) for row in enterprises)
    assert len({row["id_number"] for row in people}) == VILLAGE.people
    phones = [row["phone"] for row in people + enterprises]
    assert len(set(phones)) == len(phones)
    assert all(re.fullmatch(r"100\d{8}", phone) for phone in phones)
    assert all(row["stream"].startswith("rtsp://camera.invalid/") for row in rows(folder, "cameras"))


def test_files_are_geojson_with_the_properties_that_are_promised(folder: Path) -> None:
    areas = json.loads((folder / "areas.geojson").read_text(encoding="utf-8"))["features"]
    assert {tuple(feature["properties"]) for feature in areas} == {("code", "name", "level", "parent", "layer")}
    assert shapely.coverage_is_valid(
        [shapely.geometry.shape(f["geometry"]) for f in areas if f["properties"]["level"] == 5]
    )
    places = json.loads((folder / "places.geojson").read_text(encoding="utf-8"))["features"]
    assert {tuple(feature["properties"]) for feature in places} == {("code", "name", "kind", "aliases")}
    shown = defaultdict(set)
    for feature in places:
        shown[feature["properties"]["kind"]].add(feature["geometry"]["type"])
    assert shown.pop("road") == {"LineString"}
    assert shown.pop("estate") <= {"Polygon", "Point"}
    assert all(types == {"Point"} for types in shown.values())
    codes = {feature["properties"]["code"] for feature in places}
    assert {row["place"] for row in rows(folder, "addresses")} <= codes


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"addresses": 1_000_000}, "addresses"),
        ({"units": 20}, "units"),
        ({"roads": 10}, "roads"),
        ({"estates": 5000}, "estates"),
        ({"streets": 1}, "districts"),
        ({"police": 1}, "police"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(change: dict[str, int], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        invent(7, replace(VILLAGE, **change))


def test_the_command_says_what_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err


SPOKEN = Path(__file__).resolve().parents[1] / "data" / "spoken_places.tsv"
DIGITS = {character: value for value, character in enumerate("零一二三四五六七八九")} | {"幺": 1, "两": 2}


def spoken_number(words: str) -> int:
    """The house number that ``words`` say: 三百零八, 三零八, 幺三八."""
    if not set(words) & set("十百"):
        return int("".join(str(DIGITS[word]) for word in words))
    total, digit = 0, 0
    for word in words.removeprefix("零"):
        if word in "十百":
            total += (digit or 1) * (10 if word == "十" else 100)
            digit = 0
        else:
            digit = DIGITS[word]
    return total + digit


def test_spoken_places_are_those_of_this_city(city: City) -> None:
    """The file was written for seed 7: where the generator changes, it must be written anew."""
    with SPOKEN.open(encoding="utf-8", newline="") as file:
        spoken = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(spoken) >= 320
    assert len({row["utterance"] for row in spoken}) == len(spoken)
    grids = {area.code: area.shape for area in city.areas if area.level == 5}
    called: dict[str, list[Place]] = defaultdict(list)
    for place in city.places:
        for name in {place.name, *place.aliases}:
            called[name].append(place)
    table = city.tables["addresses"]
    houses = {(int(p), int(n)): i for i, (p, n) in enumerate(zip(table["place"], table["number"], strict=True)) if n}
    index = {place.name: i for i, place in enumerate(city.places)}
    checked = Counter[str]()
    for row in spoken:
        accepted = row["accepted"].split(",") if row["accepted"] else []
        assert row["phrase"] in row["utterance"]
        assert {row["expected_grid"], *accepted} <= set(grids)
        assert row["expected_grid"] not in accepted
        assert len(set(accepted)) == len(accepted)
        where = grids[row["expected_grid"]]
        named = called.get(row["phrase"], [])
        if len(named) == 1 and named[0].kind != "road":
            assert where.intersects(named[0].shape), row
            checked["place"] += 1
        address = re.fullmatch("(.+?)([零一二三四五六七八九十百幺]+)号", row["phrase"])
        if address and address[1] in index:
            house = houses[index[address[1]], spoken_number(address[2])]
            assert where.intersects(shapely.Point(table["lon"][house], table["lat"][house])), row
            checked["house"] += 1
    assert checked["place"] > 60
    assert checked["house"] > 100
