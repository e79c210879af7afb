"""The words that ``invented`` names its city with, and how they are put together.

No district, street or company here is meant to be a real one.

Every line of SOUND_ALIKE_ROADS and SOUND_ALIKE_ESTATES sounds the same by ``classifier.sounds``; tests hold it to that.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from numpy.random import Generator


def _words(line: str) -> tuple[str, ...]:
    return tuple(line.split())


CITY: Final = "汀澜市"
DISTRICTS: Final = _words("澄岭区 望禾区 砚川区 槐浦区 霁湖区 稔坪区 沁野区 棠溪浦区")
STREETS: Final = _words(
    "柳堰 槐荫埠 砚台山 澄潭 望楼 禾坪 霁月 桐花坞 梨园埂 麦田埂 鹭洲 云梯 石牛 双槐 铜铃湾口 老渡 青竹埂 月牙塘 "
    "画桥 书香里 栗子园 北垸 南垸 东渡口 西渡口 杉木桥 荷叶塘 白鹭坪 胡家垸 彭家垸 瓦屋场 乌柏 雁落 桂子坪 稻香埂 "
    "长堤 短堤 鼓楼湾 纸坊 茶亭 枣林埂 红砖厂 机床厂 棉纺厂 轴承厂 花市口 米市口 桑园埂 古井 沙坪埂"
)

SOUND_ALIKE_ROADS: Final = tuple(
    tuple(line.split())
    for line in """柳泉 柳全 刘泉
建设 建社
金桂 景贵 劲桂
东风 冬枫 东峰
兴盛 新胜 信盛
平安 屏安
光明 广民 观明
和平 荷坪
常庆 昌勤
文昌 文仓 闻昌
南湖 兰湖 蓝湖
龙山 农山 隆善
莲花 年华 连华
清河 庆和 亲和
宁江 林江 凌江
桃园 陶源
紫荆 子金 紫金
中兴 宗信 钟星
振兴 正新
石桥 诗桥 十桥
书院 苏苑
梧桐 吴同 五通
银杏 迎兴
永宁 永林 咏岭
白云 百运 柏云
福民 福明 抚民
胜利 圣立 生力
站前 展前
学府 雪芙
沿河 雁荷 盐河
临江 宁疆
望江 万疆 旺江
民主 明珠
红星 洪兴 鸿信
友谊 佑益
新华 星华
人民 仁明
富强 富前
三元 山源
五星 武兴
花园 华苑
茶园 察院
果园 国元
竹园 祖苑
楠竹 兰竹
朝阳 潮阳 草堰
滨河 冰荷
凤凰 枫凰 丰环
青年 清莲 庆莲
育才 玉彩
育英 玉茵 裕银
瑞丰 睿峰
锦绣 金秀 景秀
翠竹 翠珠
明月 民悦
星河 新河
云岭 云林 韵宁
香樟 仙展 湘章
海棠 海塘
玉兰 裕南 玉南
丁香 定乡
杏林 新林 兴宁
松林 颂陵
枫林 丰宁 凤岭
梅园 美苑
梅岭 梅林 美宁
仓前 昌前
盐仓 燕昌
文化 文华
创业 闯业
民生 明盛
迎宾 银滨
东升 冬生
西城 溪辰
安宁 安林 安陵
永安 咏安
永丰 永枫
大同 达通
新民 兴明
清泉 青泉 庆全
石榴 时柳
杨柳 阳柳
双桥 霜桥
江南 姜兰
北山 贝山
春风 村锋
先锋 香枫
荷塘 和堂
虹桥 红桥
百花 白桦""".splitlines()
)
"""Stems of roads that only sight tells apart, as real cities have them."""

SOUND_ALIKE_ESTATES: Final = tuple(
    tuple(line.split())
    for line in """锦绣花园 金秀花园 锦绣华苑
翠竹苑 翠珠园
阳光家园 洋光嘉园
金桂苑 景贵苑
兰湖湾 南湖湾
龙腾家园 农藤家园
紫荆名苑 子金名园
梧桐苑 吴同园
江山府 姜善府
百合新城 白鹤新城
星河湾 新河湾
丽景苑 立锦苑
庆丰小区 青枫小区
和兴小区 荷馨小区
永乐新村 咏乐新村
金色年华 锦瑟莲花
清风苑 庆丰园""".splitlines()
)

FIRST: Final = "金银翠碧瑞祥安永长文学书星云霞松竹梅兰桂荷柳枫桃杏槐榆桐芙玉珠宝福康宁顺泰丰裕华荣绣凤鹤鹭燕晓晴澄沁颐"
SECOND: Final = "山泉溪峰坪塘洲桥亭台阁田原川浦源春阳辉景秀乐祥和平达昌盛兴茂林庭霞鸣泽润涛帆舟岩谷松萍芳菲蕙岚"
"""A stem for anything is one of each."""

SUFFIX_AVENUE: Final = ("大道", "路", "路")
SUFFIX_STREET: Final = ("路", "路", "路", "街")
SUFFIX_LANE: Final = ("巷", "巷", "弄", "里", "街")
SUFFIX_VARIANT: Final = ("巷", "里", "弄", "东路", "西路", "后街", "北街", "横街", "支路")
"""What is set on the stem of a road that is there already."""

ESTATE_SUFFIX: Final = _words(
    "花园 家园 名苑 华府 公寓 小区 小区 小区 新村 雅居 丽景 佳苑 嘉园 豪庭 名邸 上城 公馆 水岸 星城 国际 花苑 新苑"
)
ESTATE_FIRST: Final = _words(
    "锦江 翠湖 阳光 幸福 万和 碧荷 恒信 蓝天 香榭 御景 丹枫 都市 学苑 金地 银河 绿洲 紫薇 玫瑰 丁香 水木 林语 云顶 "
    "天鹅 春江 秋月 枫丹 康桥 鼎盛 滨江 书香 东方 南岸 西苑 北辰 中央 时代 盛世 和美 桃源 梦想"
)
WORKS: Final = _words(
    "棉纺厂 轴承厂 机床厂 化肥厂 水泥厂 造纸厂 农机厂 丝绸厂 电池厂 油泵厂 邮电局 粮食局 供销社 物资局"
)
"""Their old housing is 家属院."""

CAMPUSES: Final = (
    ("育英小学", ("育英", "育英小学校")),
    ("澄心中学", ("澄中",)),
    ("汀澜一中", ("一中", "市一中")),
    ("万禾大市场", ("大市场",)),
    ("广厦建材市场", ("建材市场",)),
    ("霁云职业学院", ("职院",)),
    ("汀澜纺织集团", ("纺织厂",)),
    ("丰果果品批发市场", ("果品市场", "水果批发市场")),
    ("青云小学", ()),
    ("澜光电子公司", ("澜光电子",)),
    ("汀澜师范学校", ("师范", "师范学校")),
    ("启明中学", ("启明",)),
    ("义顺小商品市场", ("小商品市场",)),
    ("鹭鸣外国语学校", ("外国语学校", "鹭外")),
    ("汀澜重型机械厂", ("重机厂",)),
    ("望月小学", ()),
    ("鑫农农贸批发市场", ("农批市场",)),
    ("桐花中学", ()),
    ("澜江食品公司", ("食品公司",)),
    ("嘉禾小学", ()),
)
"""Names of independent micro-grids with what people call them."""

POINTS: Final[tuple[tuple[str, float, str, str, tuple[str, ...]], ...]] = (
    # (kind, share of the points that are not singular, suffix, what stands before it, aliases)
    ("stop", 0.17, "站", "crossing", ()),
    ("poi", 0.03, "小学", "stem", ("{stem}小",)),
    ("poi", 0.012, "实验小学", "once", ("实小",)),
    ("poi", 0.018, "中学", "stem", ("{stem}中",)),
    ("poi", 0.035, "幼儿园", "stem", ()),
    ("poi", 0.012, "医院", "stem", ()),
    ("poi", 0.025, "社区卫生服务站", "road", ()),
    ("poi", 0.04, "菜市场", "road", ("{road}市场",)),
    ("poi", 0.06, "超市", "百惠 家家福 万佳 好邻居 惠万家 鲜又多 天天乐 日日鲜", ()),
    ("poi", 0.04, "大药房", "康济堂 百草堂 仁和堂 益寿 同善堂", ("{stem}药店",)),
    ("poi", 0.04, "银行", "澜江 汀州 惠农 兴澜 信和", ()),
    ("poi", 0.06, "饭店", "stem", ()),
    ("poi", 0.03, "火锅店", "stem", ("{stem}火锅",)),
    ("poi", 0.03, "面馆", "老胡 小彭 三姐 巷口 渡口 胖哥 老灶 阿婆", ()),
    ("poi", 0.03, "宾馆", "stem", ()),
    ("poi", 0.02, "大酒店", "stem", ("{stem}酒店",)),
    ("poi", 0.025, "商务大厦", "stem", ("{stem}大厦",)),
    ("poi", 0.02, "加油站", "road", ()),
    ("poi", 0.015, "停车场", "road", ()),
    ("poi", 0.02, "公共厕所", "road", ("{road}公厕",)),
    ("poi", 0.02, "广场", "stem", ()),
    ("poi", 0.015, "商场", "stem", ()),
    ("poi", 0.012, "网吧", "stem", ()),
    ("poi", 0.012, "KTV", "stem", ()),
    ("poi", 0.02, "汽修厂", "stem", ("{stem}修理厂",)),
    ("poi", 0.01, "敬老院", "stem", ("{stem}养老院",)),
    ("poi", 0.015, "烧烤店", "老街 深夜 码头 兄弟 大排档 河边", ()),
    ("poi", 0.02, "邮政所", "road", ()),
    ("park", 0.03, "公园", "stem", ()),
    ("park", 0.02, "游园", "road", ()),
    ("bridge", 0.02, "桥", "stem", ()),
)
"""What stands along the roads. Before the suffix: a ``stem`` of its own, the ``road``; ``once``: nothing, one a
district; else names of chain shops: the first of each in a district has no more, so that callers must say where."""

SINGULAR: Final = (
    ("poi", "汀澜火车站", ("火车站",)),
    ("poi", "汀澜客运总站", ("汽车站", "客运站", "长途汽车站")),
    ("poi", "汀澜市人民医院", ("人民医院", "市医院")),
    ("poi", "汀澜市中医院", ("中医院",)),
    ("poi", "汀澜市妇幼保健院", ("妇幼", "妇幼保健院")),
    ("poi", "市民服务中心", ("政务中心", "办事大厅")),
    ("poi", "汀澜市图书馆", ("图书馆", "市图书馆")),
    ("poi", "汀澜市博物馆", ("博物馆",)),
    ("poi", "汀澜市体育馆", ("体育馆", "体育中心")),
    ("poi", "汀澜大剧院", ("大剧院",)),
    ("poi", "工人文化宫", ("文化宫",)),
    ("poi", "自来水一厂", ("一水厂",)),
    ("poi", "城北污水处理厂", ("污水厂",)),
    ("poi", "老渡口码头", ("老码头",)),
    ("poi", "金马步行街", ("步行街",)),
    ("poi", "星光夜市", ()),
    ("poi", "澄渡寺遗址", ("澄渡寺",)),
    ("park", "汀澜植物园", ("植物园",)),
    ("park", "人民公园", ()),
    ("bridge", "汀江大桥", ("汀江桥", "一桥")),
    ("bridge", "澜水二桥", ("二桥",)),
    ("river", "汀江", ()),
    ("river", "澜水河", ("澜水",)),
    ("river", "砚溪渠", ("砚溪",)),
)

ROLES: Final = frozenset(
    _words(
        "街道 属地街道 街道流管办 乡镇 主管部门 被投诉部门 设施权属单位 指挥中心裁定 司法所 法院诉前调解 发改 "
        "政法委扫黑办"
    )
)
"""What the taxonomies' department column says that is no department: whoever has the part, or a piece of one."""
UTILITIES: Final = frozenset(_words("供水公司 供电公司 燃气公司 供热公司"))
ROUND_THE_CLOCK: Final = UTILITIES | frozenset(_words("公安局 公安交警 消防救援大队 急救中心 热线中心 应急管理局"))
BRANCH_FIRST: Final = _words(
    "城管执法大队 市政设施管理处 环卫处 园林绿化处 路灯管理处 公安局 公安交警 供水公司 供电公司 燃气公司 供热公司 "
    "交通运输局 住建局 水务局 生态环境局 市场监管局 消防救援大队 民政局 教育局 卫健局 人社局 文旅局 应急管理局"
)
"""Departments whose district branches come first, the number of units being given."""
BRANCH: Final = {"局": "分局", "处": "所", "大队": "中队", "公司": "营业所"}
"""The last word of a branch's name for that of its department; others add 工作站."""
LEADER: Final = {"局": "局长", "处": "处长", "大队": "大队长", "公司": "值班经理", "办": "主任", "中心": "值班主任"}

SURNAMES: Final = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈"
GIVEN: Final = (
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂兰玲辉鹏飞红梅建国华志文玉英海波晨宇欣怡梓涵子轩雨佳琪思远若曦"
)
PERSONS: Final = len(SURNAMES) * len(GIVEN) * (len(GIVEN) + len(GIVEN) // 4)
"""How many names ``person`` knows; a fifth of them have two characters."""
COMPANY: Final = _words("商贸 餐饮 建材 科技 物业 物流 食品 服饰 装饰 机械 电子 药业 汽修 教育 广告 劳务")
COMPANY_FORM: Final = ("有限公司", "经营部", "商行", "工作室")

ASSETS: Final = {
    "路灯": 22.0, "行道树": 22.0, "雨水箅子": 10.0, "雨水井盖": 6.0, "污水井盖": 6.0, "上水井盖": 4.0,
    "电力井盖": 3.0, "通信井盖": 3.0, "燃气井盖": 1.5, "热力井盖": 0.8, "路灯井盖": 1.5, "垃圾箱": 5.0,
    "消防设施": 1.5, "路名牌": 1.5, "交通标志牌": 2.5, "交通信号灯": 0.8, "交通护栏": 1.5, "公交站亭": 0.8,
    "公共厕所": 0.3, "电力立杆": 1.5, "通信立杆": 1.0, "通信交接箱": 0.7, "监控电子眼": 0.8, "宣传栏": 0.5,
    "户外广告": 0.6, "街头座椅": 0.6, "人行横道桩": 0.8, "便道桩": 0.8, "非机动车停放点": 0.5, "变压器（箱）": 0.4,
    "燃气调压站（箱）": 0.2, "户外健身设施": 0.2, "充电桩": 0.3, "护树设施": 0.6, "绿地护栏": 0.5, "古树名木": 0.05,
    "不明井盖": 0.2, "邮筒": 0.05, "公厕指示牌": 0.2, "水域护栏": 0.2,
}  # fmt: skip
"""Parts of GB/T 30428.2 along the roads, with how often each stands there beside the others."""

RISKS: Final = {
    "危化品": "应急管理局", "烟花爆竹": "应急管理局", "燃气场站": "燃气公司", "人员密集场所": "消防救援大队",
    "特种设备": "市场监管局", "地下空间": "人防办", "建筑工地": "住建局", "易涝点": "水务局",
}  # fmt: skip
"""Kinds of risk sources and the department that owns each."""

_DIGITS: Final = "零一二三四五六七八九"
ORDINAL: Final = "新老东西南北上下"


def stems(rng: Generator) -> Iterator[str]:
    """Two-character stems in an order of their own, none twice; three characters when those are used up."""
    order = rng.permutation(len(FIRST) * len(SECOND)).tolist()
    for before in ("", *ORDINAL):
        for i in order:
            first, second = FIRST[i % len(FIRST)], SECOND[i // len(FIRST)]
            if first != second:
                yield before + first + second


def chinese(number: int) -> str:
    """A whole number from 1 to 99 as it is written in a name: 十二."""
    tens, ones = divmod(number, 10)
    head = "" if not tens else "十" if tens == 1 else f"{_DIGITS[tens]}十"
    return head + (_DIGITS[ones] if ones or not tens else "")


def person(key: int) -> str:
    """The name that a number below PERSONS stands for."""
    key, surname = divmod(key, len(SURNAMES))
    second, first = divmod(key, len(GIVEN))
    return SURNAMES[surname] + GIVEN[first] + (GIVEN[second] if second < len(GIVEN) else "")


def by_ending(name: str, table: Mapping[str, str], other: str) -> str:
    """What ``table`` has for the ending of ``name``, longest ending first; ``other`` where it has none."""
    for ending in sorted(table, key=len, reverse=True):
        if name.endswith(ending):
            return table[ending]
    return other
