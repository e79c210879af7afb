"""The demo: starts a hotline, has SIPp dial 12319 and speak, and shows what became of it.

Run by ``scripts/run --demo``. Everything is done through the doors that a citizen, an agent and a dispatch system have;
exits 0 only if the words were heard (character error ≤ 15 %), routed rightly, stored in time and pulled.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import shapely

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from callcenter.calls import timeline
from callcenter.city import invented
from callcenter.city.city import LOOK_EVERY_S
from callcenter.speech.accuracy import character_error_rate
from tests.peers import sipp
from tests.peers.hotline import Hotline, HotlineFault

MATTER = "中山路和解放路交叉口的路灯已经坏了半个多月了"
"""Held out from what the synthetic model's language model was made of."""
INVITATION_S = 10.6
"""Greeting and invitation take this long; a citizen waits for them."""
HEARS_NUMBER_S = 4.5
"""After their last word: the silence that ends the statement, and the beginning of the case number."""
RIGHT_DOMAIN = "urban"
RIGHT_WORD = "路灯"
CHARACTER_ERROR = 0.15
STREETS = ("中山路", "解放路")
"""What two crossing roads of the invented city are called here: the synthetic voice's recogniser knows these names."""
END_TO_STORED_S = 1.0
VOICE_TO_STORED_S = 5.0
GRID_LEVEL = 5

NEW_MAP_S = LOOK_EVERY_S + 1
"""Until a running hotline has a map that another process imported."""

DOMAINS = {"urban": "城管", "social": "社管", None: "未定"}


def check(what: str, passed: bool, seen: str) -> bool:
    """One line of the verdict."""
    print(f"  {'ok  ' if passed else 'FAIL'} {what}: {seen}")
    return passed


async def speak(hotline: Hotline, folder: Path) -> Any:
    """A citizen dials, hears the greeting and the invitation, speaks, and hangs up while the number is read to them."""
    speech = folder / "citizen.al"
    spoken = await asyncio.to_thread(sipp.render_speech, MATTER, speech, lead=INVITATION_S)
    stays = INVITATION_S + spoken + HEARS_NUMBER_S
    return await sipp.call(hotline.sip_host, hotline.sip_port, audio=speech, number="13800000001", hangup_after=stays)


def invent_city(hotline: Hotline, folder: Path) -> None:
    """A city that does not exist, imported as a city would import its own."""
    invented.write(invented.invent(7, invented.DEMO), folder)
    places = json.loads((folder / "places.geojson").read_text(encoding="utf-8"))
    roads = [one for one in places["features"] if one["properties"]["kind"] == "road"]
    lines = [shapely.geometry.shape(road["geometry"]) for road in roads]
    first = max(range(len(lines)), key=lambda at: lines[at].length)
    second = max((at for at in range(len(lines)) if at != first), key=lambda at: _crossing(lines[first], lines[at]))
    for at, name in zip((first, second), STREETS, strict=True):
        roads[at]["properties"]["name"] = name
    (folder / "places.geojson").write_text(json.dumps(places, ensure_ascii=False), encoding="utf-8")
    hotline.command("city", "import-folder", str(folder))


def _crossing(one: Any, other: Any) -> float:
    return float(other.length) if one.crosses(other) else 0.0


def show(call: dict[str, Any], case: dict[str, Any], units: list[dict[str, Any]]) -> None:
    """Print what the hotline knows of the call."""
    print("\ntranscript")
    for leg in call["legs"]:
        for utterance in leg["utterances"]:
            name = {"citizen": "市民", "agent": "坐席"}[leg["kind"]]
            print(
                f"  {name} {utterance['start']:6.2f}–{utterance['end']:6.2f} s  {utterance['text']}"
                f"  ({utterance['confidence']:.2f})"
            )
    print("\nrouting")
    category = case.get("category") or {}
    print(
        f"  {DOMAINS[case['domain']]}  {category.get('major', '–')} / {category.get('minor', '–')}"
        f"  P={case['probability']:.2f}  {case['decision']}"
    )
    print("\nplace")
    areas = "，".join(f"{area['name']}（{area['code']}）" for area in reversed(case["areas"])) or "not known"
    owner = next((unit for unit in units if unit["id"] == case["asset_owner"]), None)
    print(f"  {areas}\n  {case['lat']}, {case['lon']}  {case['located_by']}")
    print(f"  part {case['asset'] or 'one of several'}  owner {owner['name'] if owner else 'not known'}")
    print("\ntimeline")
    marks = {name: datetime.fromisoformat(at) for name, at in call["timeline"].items()}
    first = min(marks.values())
    for name in timeline.MARKS:
        if name in marks:
            print(f"  {name:12} {(marks[name] - first).total_seconds():8.3f} s")


async def demonstrate(keep: Path) -> bool:
    """The whole demo; whether everything held."""
    hotline = Hotline(keep, env={"CALLCENTER_DEMO_LINE": "true"})
    began = time.monotonic()
    hotline.start()
    try:
        hotline.set_up()
        hotline.add_user("agent", ["agent"], extension="101")
        print(
            f"hotline up in {time.monotonic() - began:.1f} s: {hotline.base_url}/desk,"
            f" sip:{hotline.sip_host}:{hotline.sip_port}"
        )
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            await asyncio.to_thread(invent_city, hotline, Path(folder))
            print(f"a city of 931 grids, 30,000 parts and 40,000 doors invented in {time.monotonic() - began:.1f} s")
        await asyncio.sleep(NEW_MAP_S)
        print(f"dialling 12319 and saying: {MATTER}")
        with tempfile.TemporaryDirectory() as folder:
            await speak(hotline, Path(folder))
        return verdict(hotline)
    finally:
        hotline.stop()


def verdict(hotline: Hotline) -> bool:
    """Look at what the hotline made of the call, pull the case as a dispatch system, and judge."""
    listed = hotline.until("a call", hotline.calls)
    call_id = listed[0]["id"]
    call = hotline.until("the call's end", lambda: ended(hotline, call_id), 30)
    case = hotline.get(f"/api/v1/cases/{call['cases'][0]['id']}")
    routed = case
    if case["category"] is None:
        print(f"\nFAIL the router gave no category\n{hotline.tail()}")
        return False
    if case["decision"] == "confirm":
        print("\nthe router was not sure enough to go on by itself: the agent at the desk confirms with one key")
        with hotline.signed_in("agent") as desk:
            desk.post(
                f"/api/v1/cases/{case['id']}/confirm", json={"expected_version": case["version"]}
            ).raise_for_status()
    pulled = hotline.until("the case in the feed", lambda: pull(hotline, case["number"]))
    call = hotline.get(f"/api/v1/calls/{call_id}")
    case_now = hotline.get(f"/api/v1/cases/{case['id']}")
    located = {
        **routed,
        **{name: case_now[name] for name in ("areas", "lat", "lon", "located_by", "asset", "asset_owner")},
    }
    show(call, located, hotline.get("/api/v1/units", limit=500)["items"])
    print("\npulled by the dispatch system")
    print("  " + json.dumps(pulled, ensure_ascii=False, indent=2).replace("\n", "\n  "))

    heard = "".join(part["text"] for leg in call["legs"] if leg["kind"] == "citizen" for part in leg["utterances"])
    error = character_error_rate([(MATTER, heard)])
    marks = {name: datetime.fromisoformat(at) for name, at in call["timeline"].items()}
    parts = timeline.spans(marks)
    category = routed.get("category") or {}
    print("\nverdict")
    return all(
        [
            check("what was spoken was heard", error <= CHARACTER_ERROR, f"character error {error:.1%}"),
            check(
                "routed rightly",
                routed["domain"] == RIGHT_DOMAIN and RIGHT_WORD in category.get("minor", ""),
                f"{DOMAINS[routed['domain']]} {category.get('minor')}",
            ),
            check(
                "end decided → stored ≤ 1 s",
                parts["end_decided_to_stored"] <= END_TO_STORED_S,
                f"{parts['end_decided_to_stored']:.3f} s",
            ),
            check(
                "last voiced sample → stored ≤ 5 s",
                parts["last_voiced_to_stored"] <= VOICE_TO_STORED_S,
                f"{parts['last_voiced_to_stored']:.3f} s",
            ),
            check(
                "the case knows its grid and whose the lamp is",
                any(area["level"] == GRID_LEVEL for area in located["areas"]) and located["asset_owner"] is not None,
                located["areas"][0]["name"] if located["areas"] else "no area",
            ),
            check("pulled from the feed", pulled["case"]["number"] == case["number"], pulled["case"]["number"]),
        ]
    )


def ended(hotline: Hotline, call_id: str) -> dict[str, Any] | None:
    """The call, once it has ended and its case is complete."""
    call: dict[str, Any] = hotline.get(f"/api/v1/calls/{call_id}")
    done = call["state"] == "ended" and call["cases"] and call["cases"][0]["number"]
    return call if done else None


def pull(hotline: Hotline, number: str) -> dict[str, Any] | None:
    """The feed item of the case ``number``, acknowledged."""
    with hotline.client() as dispatch:
        items = (
            dispatch.get("/api/v1/dispatch/feed", params={"after": 0, "limit": 100}).raise_for_status().json()["items"]
        )
        found: dict[str, Any] | None = next((item for item in items if item["case"]["number"] == number), None)
        if found is not None:
            dispatch.post("/api/v1/dispatch/ack", json={"position": found["position"]}).raise_for_status()
        return found


def main() -> int:
    """0 if all held, 1 if not, 2 if the hotline or the caller could not be started."""
    parser = argparse.ArgumentParser(description="A call to the hotline, shown.")
    parser.add_argument("--keep", type=Path, help="keep database and recordings here (default: thrown away)")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="hotline-demo-"))
    try:
        held = asyncio.run(demonstrate(folder))
    except (HotlineFault, OSError) as fault:
        print(f"demo: {fault}", file=sys.stderr)
        return 2
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print("\nthe first call holds" if held else "\nthe first call does not hold")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
