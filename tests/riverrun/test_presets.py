"""The presets, on the published files and on small files of the same layouts."""

import gzip
from pathlib import Path

import pytest

from feature_repo.schema import Event
from riverrun.errors import UserError
from riverrun.importing import PRESETS, load_preset
from riverrun.importing.report import ImportReport


def balanced(report: ImportReport) -> bool:
    return report.read == report.accepted + report.rejected.total() + report.skipped.total()


@pytest.mark.realdata
def test_online_retail_is_cleaned_as_the_protocol_says(real_data: Path) -> None:
    data = load_preset("online-retail", real_data / "online-retail" / "online_retail.csv.gz")
    report = data.report
    assert report.read == 541_909
    assert report.rejected["cancellation"] == 9_288
    assert report.derived["order lines kept, before identical ones are merged"] == 396_337
    assert report.skipped["identical order line"] == 396_337 - data.events.height
    assert balanced(report)
    assert data.events["event_id"].n_unique() == data.events.height
    assert {item.item_id for item in data.items} == set(data.events["item_id"])
    assert {user.user_id for user in data.users} == set(data.events["user_id"])
    titles = {item.item_id: item for item in data.items}
    assert titles["85123A"].title == "WHITE HANGING HEART T-LIGHT HOLDER"
    assert titles["85123A"].price == 2.95


@pytest.mark.realdata
def test_sequences_keep_every_users_order(real_data: Path) -> None:
    file = real_data / "amazon-beauty" / "Beauty.txt.gz"
    data = load_preset("sequences", file)
    assert (data.events.height, data.events["user_id"].n_unique()) == (198_502, 22_363)
    assert len(data.items) == 12_101
    sequences = dict(data.events.group_by("user_id").agg("item_id").iter_rows())
    for line in gzip.decompress(file.read_bytes()).decode().splitlines()[:500]:
        user, *items = line.split()
        assert sequences[user] == items


@pytest.mark.realdata
def test_icecat_products_have_texts_and_prices(real_data: Path) -> None:
    data = load_preset("icecat", real_data / "chorus-icecat" / "products.jsonl.gz")
    assert len(data.items) == 19_406
    assert data.events.is_empty()
    assert all(item.title for item in data.items)
    assert data.items[0].price == 49.95


HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
LINES = (
    "1,10001,Lamp,2,2011-01-01 10:00:00,1.50,17850.0,France\n"
    "1,10001,Lamp,2,2011-01-01 10:00:00,1.50,17850.0,France\n"
    "2,10001,  LAMP  red,1,2011-01-02 10:00:00,2.50,17851,France\n"
    "3,10001,LAMP red,1,2011-01-03 10:00:00,2.00,17851,Spain\n"
    "C4,10001,Lamp,-2,2011-01-04 10:00:00,1.50,17850,France\n"
    "5,10001,Lamp,0,2011-01-04 10:00:00,1.50,17850,France\n"
    "6,10001,Lamp,1,2011-01-04 10:00:00,0,17850,France\n"
    "7,POST,Postage,1,2011-01-04 10:00:00,18,17850,France\n"
    "8,10001,Lamp,1,someday,1.50,17850,France\n"
    "9,10001,Lamp,1,2011-01-04 10:00:00,1.50,,France\n"
)


def test_online_retail_counts_every_reason(tmp_path: Path) -> None:
    file = tmp_path / "retail.csv"
    file.write_text(HEADER + LINES)
    data = load_preset("online-retail", file)
    assert data.report.rejected == {
        "cancellation": 1,
        "Quantity is not positive": 1,
        "UnitPrice is not positive": 1,
        "StockCode is no article": 1,
        "InvoiceDate is unreadable": 1,
        "no CustomerID": 1,
    }
    assert data.report.skipped == {"identical order line": 1}
    assert balanced(data.report)
    (item,) = data.items
    assert (item.title, item.price) == ("LAMP red", 2.0)
    assert data.events["value"].to_list() == [3.0, 2.5, 2.0]
    assert {user.user_id: user.attributes["country"] for user in data.users} == {
        "17850": "France",
        "17851": "Spain",
    }


def test_online_retail_takes_what_a_spreadsheet_leaves(tmp_path: Path) -> None:
    """Blanks beside a code, descriptions of any length, numbers and ids that are none."""
    rest = "1,2011-01-01 10:00:00,1.50,17850,France\n"
    file = tmp_path / "retail.csv"
    lines = [
        f"1,85123A ,Lamp,{rest}",
        f"2,85124,{'x' * 2_000},{rest}",
        f"3,85125\a,Lamp,{rest}",
        f"4,85126{'x' * 200},Lamp,{rest}",
        "5,85127,Lamp," + rest.replace("17850", "17\a850"),
        f"6,85128,Lamp,{rest.replace('1.50', '1e999')}",
    ]
    file.write_text(HEADER + "".join(lines))
    data = load_preset("online-retail", file)
    assert [(item.item_id, len(item.title)) for item in data.items] == [
        ("85123A", 4),
        ("85124", 1024),
    ]
    assert data.events["item_id"].sort().to_list() == ["85123A", "85124"]
    assert data.report.rejected == {
        "item_id has unprintable characters": 1,
        "item_id is longer than 128 characters": 1,
        "user_id has unprintable characters": 1,
        "UnitPrice is not positive": 1,
    }
    assert balanced(data.report)


MOVIELENS = {
    "100k": {
        "u.data": "1\t10\t4\t881250949\n2\t10\t5\t881250950\n1\t11\tx\t881250949\n1\t11\t3\n",
        "u.item": "10|Café (1995)|01-Jan-1995||http|0|1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|1\n"
        "11|Old (1950)|01-Jan-1950||http|1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n",
        "u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n",
    },
    "1m": {
        "ratings.dat": "1::10::4::881250949\n2::10::5::881250950\n1::11::x::881250949\n1::11::3\n",
        "movies.dat": "10::Café (1995)::Action|Western\n11::Old (1950)::unknown\n",
        "users.dat": "1::M::24::20::85711\n2::F::53::1::94043\n",
    },
    "latest-small": {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,10,4.0,881250949\n2,10,5.0,881250950\n"
        "1,11,x,881250949\n1,11,3\n",
        "movies.csv": "movieId,title,genres\n10,Café (1995),Action|Western\n"
        "11,Old (1950),(no genres listed)\n",
    },
}


@pytest.mark.parametrize("layout", MOVIELENS)
def test_movielens_layouts_give_the_same(tmp_path: Path, layout: str) -> None:
    for name, text in MOVIELENS[layout].items():
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    data = load_preset("movielens", tmp_path)
    columns = ["user_id", "item_id", "event_type", "value"]
    assert data.events.select(columns).rows() == [
        ("1", "10", "rating", 4.0),
        ("2", "10", "rating", 5.0),
    ]
    assert data.report.rejected == {"line has not four fields": 1, "rating is no number": 1}
    assert balanced(data.report)
    first, second = data.items
    assert (first.title, first.categories) == ("Café (1995)", ("Action", "Western"))
    assert (second.categories, second.published_at) == ((), None)
    for row in data.events.iter_rows(named=True):
        Event.model_validate({k: v for k, v in row.items() if v is not None})


def folder_of(tmp_path: Path, layout: str, **changed: str) -> Path:
    for name, text in MOVIELENS[layout].items():
        (tmp_path / name).write_text(changed.get(name.partition(".")[0], text))
    if "u" in changed:
        (tmp_path / "u.item").write_text(MOVIELENS[layout]["u.item"].replace("01-Jan-", "1-1-"))
        (tmp_path / "u.data").write_text(MOVIELENS[layout]["u.data"])
        (tmp_path / "u.user").write_text("1|x|M|t|8\n")
    return tmp_path


def test_movielens_leaves_out_what_cannot_be_read(tmp_path: Path) -> None:
    data = load_preset("movielens", folder_of(tmp_path, "100k", u="changed"))
    assert [item.published_at for item in data.items] == [None, None]
    assert [user.attributes for user in data.users] == [
        {"gender": "M", "occupation": "t", "zip": "8"}
    ]
    assert data.report.repaired == {
        "release date cannot be read: left out": 2,
        "age is no number: left out": 1,
    }


def test_movielens_rejects_what_is_no_rating_and_no_movie(tmp_path: Path) -> None:
    head = "userId,movieId,rating,timestamp\n"
    lines = [
        f"{u},10,{r},881250949\n" for u, r in (("1", "nan"), ("1", "inf"), ("x\a", "4"), ("1", "4"))
    ]
    movies = f"movieId,title,genres\n10,Café,A\n{'1' * 200},Old,B\n11,{'x' * 2_000},\n"
    folder = folder_of(tmp_path, "latest-small", ratings=head + "".join(lines), movies=movies)
    data = load_preset("movielens", folder)
    assert data.events["value"].to_list() == [4.0]
    assert [item.item_id for item in data.items] == ["10"]
    assert data.report.rejected == {
        "rating is no number": 2,
        "user or movie is no id": 1,
        "record has no usable item_id": 1,
        "record has no usable title": 1,
    }
    assert balanced(data.report)
    (tmp_path / "movies.csv").write_text("id,title\n1,x\n")
    with pytest.raises(UserError, match=r"movies\.csv: no table of movieId"):
        load_preset("movielens", folder)


def test_sequences_reject_what_is_no_id(tmp_path: Path) -> None:
    file = tmp_path / "s.txt"
    file.write_text(f"u a b\nv{'x' * 200} a\nw a\x07\n")
    data = load_preset("sequences", file)
    assert data.events["user_id"].to_list() == ["u", "u"]
    assert data.report.rejected == {"line has what is no id": 2}
    assert balanced(data.report)


@pytest.mark.parametrize("content", ["[1]", '{"a": 5}', "5"])
def test_attributes_of_sequences_are_lists_by_item(tmp_path: Path, content: str) -> None:
    (tmp_path / "s.txt").write_text("u a b\n")
    (tmp_path / "s_item2attributes.json").write_text(content)
    with pytest.raises(UserError, match=r"s_item2attributes\.json: must be an object of lists"):
        load_preset("sequences", tmp_path / "s.txt")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("content", [b"", b"\n", b"hello\n", b"\x1f\x8bnot gzip", b"\xff\xfe\x00"])
def test_a_file_of_another_kind_is_a_user_error(
    tmp_path: Path, preset: str, content: bytes
) -> None:
    file = tmp_path / "file.txt"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"file\.txt|no MovieLens folder"):
        load_preset(preset, file)


def test_unknown_presets_and_absent_files_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="online-retail, movielens, sequences, icecat"):
        load_preset("netflix", tmp_path)
    with pytest.raises(UserError, match="no such file"):
        load_preset("icecat", tmp_path / "absent.jsonl")
