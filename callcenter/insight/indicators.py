"""The indicators of evaluation: what is counted, and the 44 rates that are made of it. Pure.

A counter belongs to a day (Asia/Shanghai) and adds up over days, cases and units; a rate is made of sums only, so a
rate of a year is exact, not a mean of rates. Most rates follow a cohort: the numerator is counted among the very cases
of the denominator, on the denominator's day, so no rate passes 100 % and work shifted into another period gains
nothing. Formulas are those of GB/T 30428.4 and CJ/T 292 as cities practise them (DOMAIN.md §1) and of the seed
documents (SEED_FEATURES.md); ``source`` says which, "house" marks our own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

REPORTING: Final = (
    *("reported", "reported_public", "reported_collector", "reported_valid", "reported_refused"),
    *("completed", "immediate", "self_handled", "answered", "handed_over"),
)
"""On the day a case was reported (受理, 上报)."""
FILING: Final = (
    *("filed", "filed_unlimited", "filed_on_time", "filed_cancelled", "filed_public_verified"),
    *("filed_public_patrol", "filed_proactive", "filed_yellow", "filed_red"),
)
"""On the day it was filed (立案)."""
DUE: Final = (
    *("due", "due_closed", "due_on_time", "due_suspended", "due_exempt", "due_solved", "due_cancelled"),
    *("urgent_due", "urgent_closed", "urgent_on_time", "urgent_exempt"),
)
"""On the day its limit fell due before any extension or pause (应结案)."""
HANDLING: Final = (
    *("handling_due", "handling_returned", "handling_exempt", "handled", "handled_on_time", "handled_ever"),
    *("handled_late", "reworked", "reworked_thrice", "proof_needed", "proof_given", "overtime_s"),
)
"""On the day a unit's handling limit fell due, before any extension or pause (应处置). ``overtime_s``: seconds."""
DISPATCHING: Final = (
    *("dispatch_due", "dispatch_withdrawn", "dispatched_on_time", "dispatched_accurate"),
    *("first_dispatched", "first_accurate"),
    *("ordered", "ordered_returned", "ordered_evaded", "ordered_extended", "ordered_suspended"),
)
"""On the day the dispatch limit fell due; ``first_*`` and ``ordered*`` on the day the order was given."""
PHASE: Final = (
    *("verify_due", "verify_withdrawn", "verified_on_time", "check_due", "check_withdrawn", "checked_on_time"),
    *("sign_due", "sign_withdrawn", "signed_on_time"),
)
"""On the day the phase's limit fell due."""
CLOSING: Final = (
    *("closed", "forced", "recurred", "closed_wanting", "called_back", "reached", "said", "satisfied"),
    *("appeals_decided", "appeals_granted"),
)
"""On the day it was closed; appeals on the day they were decided."""
EVENTS: Final = (
    *("cancelled", "refused", "evasions", "extensions", "suspensions", "reworks", "returns", "sheets"),
    *("handling_s", "handling_n", "closing_s", "closing_n"),
)
"""On the day it happened. ``_s``: seconds on the clock, ``_n``: of how many."""

COUNTERS: Final = (*REPORTING, *FILING, *DUE, *HANDLING, *DISPATCHING, *PHASE, *CLOSING, *EVENTS)
"""The columns of the pre-aggregated table, in its order."""

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Rate:
    """``numerator`` of ``denominator``. ``exclusions``: what the formula left out of the denominator, and how many;
    the denominator is already without them."""

    numerator: int
    denominator: int
    exclusions: Mapping[str, int]

    @property
    def value(self) -> float | None:
        """Between 0 and 1; None for nothing of nothing."""
        return self.numerator / self.denominator if self.denominator else None


@dataclass(frozen=True, slots=True)
class Indicator:
    """A rate by its formula: the sum of ``part`` less ``part_less`` over ``whole`` less all of ``left_out``."""

    code: str
    zh: str
    formula_zh: str
    formula_en: str
    source: str
    part: str
    whole: str
    part_less: str = ""
    left_out: tuple[tuple[str, str], ...] = ()
    """(name of the exclusion, its counter)."""

    def of(self, counts: Counts) -> Rate:
        """The rate of these sums; a counter that is missing is 0."""
        exclusions = {name: counts.get(counter, 0) for name, counter in self.left_out}
        part = counts.get(self.part, 0) - (counts.get(self.part_less, 0) if self.part_less else 0)
        return Rate(part, counts.get(self.whole, 0) - sum(exclusions.values()), exclusions)


_HELD = ("suspended", "due_suspended")
_EXEMPT = ("appeal_granted", "due_exempt")
_GB, _JINHUA, _SEED, _HOUSE = "GB/T 30428.4 practice", "a city's rule (金华)", "seed", "house"
_I = Indicator

INDICATORS: Final = (
    _I("closing", "结案率", "结案数 / 应结案数", "closed / due", _GB, "due_closed", "due"),
    _I("closing_less_suspended", "结案率（扣缓办）", "结案数 / (应结案数 − 缓办数)",
       "closed / (due − still suspended)", _JINHUA, "due_closed", "due", left_out=(_HELD,)),
    _I("closing_on_time", "按期结案率", "按期结案数 / (应结案数 − 申诉成立数)",
       "closed in time / (due − appeal granted)", _GB, "due_on_time", "due", left_out=(_EXEMPT,)),
    _I("closing_on_time_less_suspended", "按期结案率（扣缓办）", "按期结案数 / (应结案数 − 缓办数 − 申诉成立数)",
       "closed in time / (due − still suspended − appeal granted)", _JINHUA, "due_on_time", "due",
       left_out=(_HELD, _EXEMPT)),
    _I("closing_on_time_raw", "按期结案率（申诉前）", "按期结案数 / 应结案数", "closed in time / due, appeals ignored",
       _GB, "due_on_time", "due"),
    _I("urgent_closing", "紧急问题结案率", "紧急结案数 / 紧急应结案数", "urgent closed / urgent due", _JINHUA,
       "urgent_closed", "urgent_due"),
    _I("urgent_closing_on_time", "紧急问题按期结案率", "紧急按期结案数 / (紧急应结案数 − 申诉成立数)",
       "urgent closed in time / (urgent due − appeal granted)", _JINHUA, "urgent_on_time", "urgent_due",
       left_out=(("appeal_granted", "urgent_exempt"),)),
    _I("solved", "解决率", "解决完成数 / 应解决数", "solved (closed, not by force) / due", "seed 001-07",
       "due_solved", "due"),
    _I("handling", "处置率", "处置数 / (应处置数 − 期内同意退件数)", "handled / (due − returned before the limit)", _GB,
       "handled", "handling_due", left_out=(("returned", "handling_returned"),)),
    _I("handling_on_time", "按期处置率", "按期处置数 / (应处置数 − 期内同意退件数 − 申诉成立数)",
       "handled in time, each round / (due − returned before the limit − appeal granted)", _GB,
       "handled_on_time", "handling_due",
       left_out=(("returned", "handling_returned"), ("appeal_granted", "handling_exempt"))),
    _I("overtime_raw", "超时率（申诉前）", "超时处置数 / (应处置数 − 期内同意退件数)",
       "handled late / (due − returned before the limit), appeals ignored", _HOUSE, "handled_late", "handling_due",
       left_out=(("returned", "handling_returned"),)),
    _I("rework", "返工率", "返工案件数 / 处置数", "sent back after a failed check / handled at least once", _GB,
       "reworked", "handled_ever"),
    _I("rework_thrice", "三次返工率", "返工三次以上案件数 / 处置数",
       "sent back three times or more / handled at least once",
       "a city's fines", "reworked_thrice", "handled_ever"),
    _I("proof", "反馈照片合格率", "有派遣后新照片的处置数 / 部件事件处置数",
       "handled with a new picture taken after dispatch / handled parts and events", _HOUSE,
       "proof_given", "proof_needed"),
    _I("filing_on_time", "按时立案率", "按时立案数 / (立案数 − 无立案时限数)",
       "filed in time / (filed − without a limit)",
       _GB, "filed_on_time", "filed", left_out=(("no_limit", "filed_unlimited"),)),
    _I("filing_accurate", "准确立案率", "(立案数 − 作废数) / 立案数", "(filed − cancelled afterwards) / filed", _GB,
       "filed", "filed", part_less="filed_cancelled"),
    _I("dispatch_on_time", "按时派遣率", "按时派遣数 / (应派遣数 − 期内撤回数)",
       "dispatched in time / (due − withdrawn before the limit)", _GB, "dispatched_on_time", "dispatch_due",
       left_out=(("withdrawn", "dispatch_withdrawn"),)),
    _I("dispatch_accurate", "准确派遣率", "准确派遣数 / (应派遣数 − 期内撤回数)",
       "dispatched and never to another unit / (due − withdrawn before the limit)", _GB,
       "dispatched_accurate", "dispatch_due", left_out=(("withdrawn", "dispatch_withdrawn"),)),
    _I("first_dispatch_accurate", "首派准确率", "首派单位即最终单位数 / 首派数",
       "first unit is the only one / first dispatches", "issue 3, part 3", "first_accurate", "first_dispatched"),
    _I("returned", "退件率", "同意退件数 / 派单数", "given back with consent / orders", "issue 3, part 3",
       "ordered_returned", "ordered"),
    _I("evasion", "推诿率", "推诿数 / 派单数", "orders with a return asked for and denied / orders", _HOUSE,
       "ordered_evaded", "ordered"),
    _I("extension", "延期率", "延期件数 / 派单数", "orders extended / orders", _HOUSE, "ordered_extended", "ordered"),
    _I("suspension", "挂账率", "挂账件数 / 派单数", "orders suspended / orders", _HOUSE,
       "ordered_suspended", "ordered"),
    _I("signing_on_time", "按时签收率", "按时签收数 / (应签收数 − 期内撤回数)",
       "signed in time / (due − withdrawn before the limit)", "issue 3, part 4", "signed_on_time", "sign_due",
       left_out=(("withdrawn", "sign_withdrawn"),)),
    _I("verification_on_time", "按时核实率", "按时核实数 / (应核实数 − 期内撤回数)",
       "verified in time / (due − withdrawn before the limit)", _GB, "verified_on_time", "verify_due",
       left_out=(("withdrawn", "verify_withdrawn"),)),
    _I("check_on_time", "按时核查率", "按时核查数 / (应核查数 − 期内撤回数)",
       "checked in time / (due − withdrawn before the limit)", _GB, "checked_on_time", "check_due",
       left_out=(("withdrawn", "check_withdrawn"),)),
    _I("valid_report", "有效上报率", "监督员上报后立案或自行处置数 / 监督员上报数",
       "collectors' reports that were filed or handled on the spot / collectors' reports", _GB,
       "reported_valid", "reported_collector"),
    _I("public_report", "监督举报率", "公众举报核实数 / 立案数", "public reports verified as existing / filed", _GB,
       "filed_public_verified", "filed"),
    _I("missed", "漏报率", "漏报数 / 立案数",
       "public reports of parts and events, which patrols should find / filed", _GB,
       "filed_public_patrol", "filed"),
    _I("proactive", "主动发现率", "(发现总数 − 公众投诉数) / 发现总数", "(reported − by the public) / reported",
       "seed 001-08", "reported", "reported", part_less="reported_public"),
    _I("discovery", "发现率", "自行发现立案数 / 立案数", "filed found by own means / filed", "seed 002-10",
       "filed_proactive", "filed"),
    _I("completion", "办结率", "办结数 / 受理数", "closed / reported", "seed 003-13", "completed", "reported"),
    _I("immediate", "即办率", "即办数 / (受理数 − 自行处置数)",
       "answered at once or closed within 24 h / (reported − handled on the spot)", "seed 003-13",
       "immediate", "reported", left_out=(("self_handled", "self_handled"),)),
    _I("self_handling", "自行处置率", "自行处置数 / 受理数", "handled on the spot by a grid worker / reported",
       "seed 003-10", "self_handled", "reported"),
    _I("refusal", "不予立案率", "不予立案数 / 受理数", "refused / reported", _HOUSE, "reported_refused", "reported"),
    _I("cancellation", "作废率", "立案后作废数 / 立案数", "cancelled after filing / filed", _HOUSE,
       "filed_cancelled", "filed"),
    _I("recurrence", "复发率", "三十日内复发数 / 结案数", "same matter, same place within 30 days of closing / closed",
       "issue 3, part 7", "recurred", "closed"),
    _I("forced", "强制结案率", "强制结案数 / 结案数", "closed by force / closed", _HOUSE, "forced", "closed"),
    _I("callback", "回访率", "回访数 / 应回访数", "called back / closed whose citizen wants an answer", _HOUSE,
       "called_back", "closed_wanting"),
    _I("reached", "回访接通率", "接通数 / 回访数", "reached / called back", _HOUSE, "reached", "called_back"),
    _I("satisfaction", "满意率", "(满意 + 基本满意) / 有评价数", "satisfied or basically / who said", _HOUSE,
       "satisfied", "said"),
    _I("appeal_granted", "申诉成立率", "申诉成立数 / 申诉裁定数", "granted / decided", _HOUSE,
       "appeals_granted", "appeals_decided"),
    _I("yellow", "黄灯率", "亮黄灯以上案件数 / 立案数", "cases that turned yellow or red / filed", "seed 000-10",
       "filed_yellow", "filed"),
    _I("red", "红灯率", "亮红灯案件数 / 立案数", "cases that turned red / filed", "seed 000-11", "filed_red", "filed"),
)  # fmt: skip
"""The rates, 44 of them. A case suspended, cancelled or closed by force stays in a denominator unless the formula
here says otherwise."""

COUNTS: Final = {
    "reported": "受理数（发现数）",
    "filed": "立案数",
    "due": "应结案数",
    "closed": "结案数",
    "due_cancelled": "应结案中作废数",
    "answered": "直接答复数",
    "handed_over": "移交公安数",
    "self_handled": "自行处置数",
    "refused": "不予立案数",
    "cancelled": "作废数",
    "evasions": "推诿数",
    "extensions": "延期数",
    "suspensions": "挂账数",
    "reworks": "返工次数",
    "returns": "退件次数",
    "recurred": "复发数",
    "sheets": "督办数",
    "handled": "处置数",
    "handled_late": "超时处置数（申诉前）",
    "overtime_s": "超时秒数（申诉前）",
}
"""The counters shown as such, with their names."""

MEANS: Final = {"handling_time": ("平均处置时间", "handling_s", "handling_n"),
                "closing_time": ("平均结案时间", "closing_s", "closing_n")}  # fmt: skip
"""Mean seconds on the clock: from the order to the unit's last reply; from the report to the close."""


def rates(counts: Counts) -> dict[str, Rate]:
    """Every indicator of these sums, by its code."""
    return {one.code: one.of(counts) for one in INDICATORS}


def mean(counts: Counts, name: str) -> float | None:
    """One of MEANS, in seconds; None where nothing was timed."""
    _, total, number = MEANS[name]
    return counts.get(total, 0) / counts[number] if counts.get(number) else None
