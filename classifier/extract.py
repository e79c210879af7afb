"""What else a text says: the place, the wish for secrecy, who is accused, a second matter, people's particulars.

First form: patterns over the cleaned text (``text.clean``), each answer with the original's code points; the place is
read by the learned reader of ``places`` first. A city's gazetteer is a later matter; callers see only the functions
here."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from classifier.places import PlaceReader
from classifier.text import Traced, cut

# -- secrecy and the accused -----------------------------------------------------------------------------------------

_SECRECY = re.compile(
    r"保密|匿名|别(说|讲|提|告诉).{0,8}(是我|我(说|讲|打|举报|反映|投诉)|我的(名字|电话|号码|姓名))"
    r"|(别|不要|不能|不想|莫)(把|让|给|留).{0,6}(我的?|我们的?)?(姓名|名字|电话|号码|个人信息|身份)"
    r"|(不要|别|不想|不愿|不能)(透露|泄露|公开|暴露|留名|留姓名)"
    r"|(不想|不愿|别|不要|不能)(让|叫|被).{0,8}(知道|晓得|查到|发现)(.{0,3}是?我)?|怕.{0,6}(报复|打击)"
)
_OFFICIAL = (
    r"村(主任|书记|支书|干部|长|会计|支部书记|委会?(?:主任|干部))|社区(主任|书记|干部)|居委会(主任|书记)|主任|支书|书记|镇长|乡长|局长|科长|处长|所长"
    r"|院长|校长|城管(队员|执法|队|的人|人员)?|交警|民警|警察|协管员?|辅警|执法(人员|队员?)|办事员|网格员|工作人员|公务员|领导|干部"
)
_MISCONDUCT = (
    r"吃拿卡要|优亲厚友|收(了)?(人家?的?)?(钱|红包|礼|好处|黑钱)|受贿|行贿|贪(污|了|钱)|拿(回扣|好处)|索要|乱?罚款|打(了)?(我|人|骂)|骂(我|人)|动手"
    r"|态度.{0,6}(差|恶劣|不好|凶|横|蛮横|冷)|不作为|乱作为|踢皮球|推诿|推来推去|包庇|保护伞|徇私|滥用|渎职|失职|刁难|不给办|睡觉|喝酒|公车私用"
    r"|不管事|占着?.{0,4}(指标|名额|低保)|吃低保|挪用|截留|冒领|关系户|勾结|串通|索贿|要好处"
)
_ACCUSED = re.compile(rf"(?P<who>[\u4e00-\u9fff]{{0,6}}?(?:{_OFFICIAL})).{{0,18}}?(?:{_MISCONDUCT})")
_WRONGDOING = re.compile(rf"(?:{_MISCONDUCT}).{{0,10}}?(?P<who>(?:{_OFFICIAL}))")
_OFFICIAL_ONLY = re.compile(_OFFICIAL)

# -- a second matter -------------------------------------------------------------------------------------------------

_SECOND = re.compile(
    r"(还有(?=(一|个|件|就|我|你|那|啊|呢|哪|他|,|，|\s|[\u4e00-\u9fff]))(一?(个|件|桩|档子)?(事|问题|情况))?(儿|情)?"
    r"|另外(再|还|一|有)?(一?(个|件|桩)?(事|问题|情况))?|再(就是|有就?是?|说一?(个|件|声)?|一(个|件|桩)|问一?(个|下|句)?|反映一?(个|下)?|讲一?(个|件)?|提一?(个|下|句)?)"
    r"|第二(个|件|是|桩)?(事|问题)?|其次|顺便(再)?(问|说|反映|讲|提)?|顺带|捎带|还想(再)?(问|说|反映|讲)|对了|哦对|噢对|同时|除了这个|除此|一码归一码|另一(个|件|桩)(事|问题)?"
    r"|顺嘴|说起(这|那)?|说完这个|再跟你(们)?说|(他|她|它|他们|他家|这家|那家).{0,4}还|我(还|正要|也(想|要))|也(一起|管一?管|顺|麻烦)|往前走"
    r"|两(个|件|桩)(事|问题|情况).{0,3}(一是|一个)?)"
)
_CLAUSE = re.compile(r"[。！？!?;；]|[,，]")
_LEAST = 6
"""Characters that a matter needs on its own."""
_MOST_TURNS = 4
"""Partings told of in one text: each costs two predictions, and a caller who turns more often tells one story."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a caller may turn to a second matter. ``before``: code points of the original that precede it; ``said``:
    they say that something else follows.
    """

    before: int
    rest: "Found"
    said: bool


# -- particulars -----------------------------------------------------------------------------------------------------

_SPOKEN_DIGIT = "0-9零〇一二三四五六七八九幺洞拐"
_PHONE = re.compile(r"(?<!\d)1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?!\d)|(?<!\d)0\d{2,3}[ -]?[2-9]\d{6,7}(?!\d)")
_SPOKEN_PHONE = re.compile(rf"(?<![{_SPOKEN_DIGIT}])[幺一1][{_SPOKEN_DIGIT} ]{{10,14}}(?![{_SPOKEN_DIGIT}])")
_ID_NUMBER = re.compile(r"(?<!\d)[1-9]\d{5}(18|19|20)\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])\d{3}[\dx](?![\da-z])")
_SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊"
    "金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文庞樊殷施陶翟安颜倪严牛温季俞章鲁葛韦申尤毕聂焦向柳邢岳齐"
)
_NAME = re.compile(
    rf"(?:我(?:名字|姓名)?(?:叫|是)|名字(?:叫|是)|姓名[是:：]?|叫做)(?P<name>(?:欧阳|上官|司马|诸葛|[{_SURNAMES}])[\u4e00-\u9fff]{{1,2}}?)"
    rf"(?=[,，。;；、.\s]|$|住|电话|手机|家住|我|是|今年)"
    rf"|(?:我(?:姓|是小|是老)|免贵姓)(?P<surname>[{_SURNAMES}])"
    rf"|(?P<titled>[{_SURNAMES}][\u4e00-\u9fff]?(?:先生|女士|小姐))"
)


@dataclass(frozen=True, slots=True)
class Found:
    """A piece of a text: its words, and its code points in the original."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Particular:
    """Something that names a person, to be masked where it is shown: code points of the original."""

    kind: Literal["phone", "id_number", "name"]
    start: int
    end: int


def secrecy(cleaned: Traced) -> bool:
    """Does the caller want not to be named?"""
    return _SECRECY.search(cleaned.text) is not None


def accused(cleaned: Traced) -> Found | None:
    """The official or member of an authority who is said to have done wrong, as the caller names them."""
    match = _ACCUSED.search(cleaned.text) or _WRONGDOING.search(cleaned.text)
    if match is None:
        return None
    start, end = match.span("who")
    for word, position in cut(cleaned.text[start:end]):
        if word in _LEFT_STOP or word in ("告", "举报", "投诉", "反映"):
            start_after = match.start("who") + position + len(word)
            if _OFFICIAL_ONLY.search(cleaned.text[start_after:end]):
                start = start_after
    return _found(cleaned, start, end)


def turns(cleaned: Traced) -> list[Turn]:
    """Where the caller may turn to a second matter; the router decides whether it stands on its own."""
    source = cleaned.text
    found: dict[int, Turn] = {}
    for said, pattern in ((True, _SECOND), (False, _CLAUSE)):
        for match in pattern.finditer(source):
            rest = source[match.end() :]
            if match.start() >= _LEAST and len(rest.strip(" ,，.。")) >= _LEAST and match.end() not in found:
                place = _found(cleaned, match.end(), len(source))
                found[match.end()] = Turn(cleaned.starts[match.start()], place, said)
            if len(found) >= _MOST_TURNS:
                break
    return list(found.values())


def particulars(cleaned: Traced) -> list[Particular]:
    """Telephone numbers (written or spoken digit by digit), identity numbers and names, in order, without overlap."""
    taken: list[Particular] = []

    def take(kind: Literal["phone", "id_number", "name"], start: int, end: int) -> None:
        first, last = cleaned.span(start, end)
        if not any(p.start < last and first < p.end for p in taken):
            taken.append(Particular(kind, first, last))

    for match in _ID_NUMBER.finditer(cleaned.text):
        take("id_number", *match.span())
    for pattern in (_PHONE, _SPOKEN_PHONE):
        for match in pattern.finditer(cleaned.text):
            if sum(c != " " and c != "-" for c in match.group()) >= 10:
                take("phone", *match.span())
    for match in _NAME.finditer(cleaned.text):
        group = next(name for name in ("name", "surname", "titled") if match.group(name))
        start, end = match.span(group)
        take("name", start, end)
    return sorted(taken, key=lambda p: p.start)


# -- the place -------------------------------------------------------------------------------------------------------


def _sections(path: Path) -> dict[str, list[str]]:
    """The words of a file of ``section: word word`` lines, by section."""
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            section, _, words = line.partition(":")
            found.setdefault(section, []).extend(words.split())
    return found


_PLACES = _sections(Path(__file__).resolve().parent / "places.txt")
_END = re.compile(rf"(?:{'|'.join(_PLACES['end'])})$")
_LEFT_STOP = frozenset(_PLACES["not_left"])
_NOT_NAMES = frozenset(_PLACES["not_name"])
_GENERIC = frozenset(_PLACES["generic"])
_NUMBER = re.compile(r"[0-9零〇一二三四五六七八九十百]")
_JOIN = re.compile(r"\s*(?:与|和|跟|到|至|同|、|靠近?|近|挨着|快到)\s*")
_TAIL = re.compile(
    r"(?:\s*(?:甲|乙|丙)?[0-9零〇一二三四五六七八九十百千两幺a-z-]+(?:号院|号楼|号|弄|巷|栋|幢|座|单元|室|层|楼|期|区|排|组|队|门|路|街|米|中|出口|口)+(?!人|线)"
    r"|\s*[东西南北][东西南北]?(?:大门|小门|门口|门|侧|边|面|头|角|段|口|入口|出口|院|区|苑|里|街|路)"
    r"|\s*[a-z](?:区|座|栋|口|出口)"
    r"|\s*(?:往|向)[东西南北](?:走|拐|去)?(?:[0-9一二三四五六七八九十百两几]+(?:来|多)?(?:米|公里|里地))?"
    r"|\s*(?:大门口|校门口|村口|路口|街口|巷口|巷子口|口子上|十字路口|丁字路口|交叉口|交界处?|转角|拐角|拐弯处?|转弯处?|弯道|出口|入口|门口|大门|后门|前门|正门|侧门|小门|门前|门外)"
    r"|\s*(?:马路)?(?:对面|对过|斜对面|旁边|边上|隔壁|附近|背后|后面|后头|前面|前头|外面|外头|里面|里头|楼下|楼上|楼顶|楼后|楼前|屋后|围墙外|围墙边|墙外|周边|一带|沿线|沿街|路段"
    r"|中间|底下|下面|上面|跟前|附近|那一片|那一块|那一段|那块儿?|那段|那边|那儿|那里|这儿|这里|这边|那条土?路|桥头|桥下|桥上|桥底|顶上|尽头|头上|院内|院里|院子里?|内|外墙|台阶下?|地下室|地下车库|停车场|公交站|地铁站|红绿灯)"
    r")"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A place as the caller says it. ``vague``: only a kind of place (小区东门口), which nobody could find."""

    text: str
    start: int
    end: int
    vague: bool


def place(cleaned: Traced, reader: PlaceReader | None = None) -> Place | None:
    """The address phrase of the text, or None.

    What the learned ``reader`` finds counts; where it finds nothing, or there is none, the patterns: a name that ends
    like a place (柳泉路, 云栖三期) with what precises it (三十三号, 东门, 对面). Beside a reader they must be
    precise, or vague."""
    span = reader.find(cleaned) if reader else None
    if span is not None:
        start, end = span
        first, last = cleaned.span(start, end)
        return Place(cleaned.text[start:end], first, last, _nameless(cleaned.text[start:end]))
    found = _by_patterns(cleaned, precise_only=reader is not None)
    if found is None:
        return None
    start, end, vague = found
    first, last = cleaned.span(start, end)
    return Place(cleaned.text[start:end].strip(), first, last, vague)


def _nameless(phrase: str) -> bool:
    """Is it only a kind of place and a side of it (我们小区东门口, 楼下)?"""
    rest = _TAIL.sub("", phrase)
    for word in sorted(_GENERIC, key=len, reverse=True):
        rest = rest.replace(word, "")
    for word in ("我们", "我家", "咱们", "楼", "家", "门口"):
        rest = rest.replace(word, "")
    return len(rest.strip()) < 2 and not _NUMBER.search(phrase)


def _by_patterns(cleaned: Traced, *, precise_only: bool) -> tuple[int, int, bool] | None:
    """(start, end, vague) of the most telling phrase: the most precise, then the longest, then the first."""
    source = cleaned.text
    tokens = list(cut(source))
    best: tuple[int, int, int, bool] | None = None
    taken_until = 0
    for index, (_, position) in enumerate(tokens):
        if position < taken_until:
            continue
        head = _head(source, tokens, index, taken_until)
        if head is None:
            continue
        start, end, vague = head
        end, precise = _extend(source, end)
        joined = _JOIN.match(source, end)
        if joined and not vague:
            other = _named_at(source, tokens, joined.end())
            if other is not None:
                end, more = _extend(source, other)
                precise += 1 + more
        taken_until = end
        if precise == 0 and (vague or precise_only):
            continue
        score = (0 if vague else 10) + 2 * min(precise, 3) + min(end - start, 12) // 4
        if best is None or score > best[0]:
            best = (score, start, end, vague)
    return best[1:] if best else None


def _head(source: str, tokens: list[tuple[str, int]], index: int, floor: int) -> tuple[int, int, bool] | None:
    """The name of a place that ends with token ``index``: (start, end, vague)."""
    word, position = tokens[index]
    end = position + len(word)
    if not _END.search(word):
        return None
    if len(word) >= 3 and word not in _NOT_NAMES:
        start = position
        if (
            len(word) == 3
            and index
            and tokens[index - 1][1] >= floor
            and _part_of_name(tokens[index - 1][0])
            and (len(tokens[index - 1][0]) == 1)
        ):
            start = tokens[index - 1][1]
        return start, end, False
    if len(word) == 2 and word not in _NOT_NAMES:
        start = position
        if index and tokens[index - 1][1] >= floor and _part_of_name(tokens[index - 1][0]):
            start = tokens[index - 1][1]
        return start, end, False
    # a bare ending (路, 小区): the name stands to its left
    start, characters, steps = position, 0, index - 1
    while steps >= 0 and characters < 4 and tokens[steps][1] >= floor:
        left = tokens[steps][0]
        if not _part_of_name(left) or characters + len(left) > 5:
            break
        start = tokens[steps][1]
        characters += len(left)
        steps -= 1
        if len(left) >= 2:
            break
    if characters >= 2 or (
        characters == 1 and len(word) == 1 and len(source[start:end]) >= 2 and word in "路街巷村桥镇"
    ):
        return start, end, False
    if word in _GENERIC:
        return position, end, True
    return None


def _part_of_name(token: str) -> bool:
    return (
        token not in _LEFT_STOP
        and token not in _NOT_NAMES
        and all("\u4e00" <= c <= "\u9fff" for c in token)
        and not any(c in "的了在是有个不没着被把给从往到" for c in token)
    )


def _named_at(source: str, tokens: list[tuple[str, int]], at: int) -> int | None:
    """The end of a named place that begins at ``at``, at most 8 characters on."""
    for index, (_, position) in enumerate(tokens):
        if position >= at + 8:
            return None
        if position >= at:
            head = _head(source, tokens, index, at)
            if head is not None and head[0] == at:
                return head[1]
    return None


def _extend(source: str, end: int) -> tuple[int, int]:
    """Take in what precises a place: (new end, how many pieces)."""
    pieces = 0
    while True:
        match = _TAIL.match(source, end)
        if match is None or match.end() == end:
            return end, pieces
        end = match.end()
        pieces += 1


def _found(cleaned: Traced, start: int, end: int) -> Found:
    first, last = cleaned.span(start, end)
    return Found(cleaned.text[start:end], first, last)
