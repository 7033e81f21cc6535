"""The words of titles, descriptions and reviews, in English and Chinese. Synonyms stand beside each other."""

NOUNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "mug": (("mug", "coffee mug", "cup", "tea mug"), ("马克杯", "咖啡杯", "茶杯", "杯子")),
    "plate": (("plate", "dinner plate", "side plate", "dish"), ("盘子", "餐盘", "点心盘", "碟子")),
    "bottle": (("bottle", "water bottle", "flask", "drinking bottle"), ("水瓶", "水壶", "随行瓶", "饮水瓶")),
    "lamp": (("lamp", "table lamp", "desk light", "night light"), ("台灯", "桌灯", "床头灯", "小夜灯")),
    "cushion": (("cushion", "throw pillow", "scatter cushion", "pillow"), ("靠垫", "抱枕", "坐垫", "靠枕")),
    "clock": (("clock", "wall clock", "alarm clock", "timepiece"), ("时钟", "挂钟", "闹钟", "座钟")),
    "candle": (("candle", "scented candle", "pillar candle", "wax light"), ("蜡烛", "香薰蜡烛", "香氛烛", "柱烛")),
    "bag": (("bag", "tote bag", "shopper", "carrier"), ("手提袋", "托特包", "购物袋", "单肩包")),
    "shirt": (("shirt", "t-shirt", "tee", "top"), ("T恤", "上衣", "衬衫", "短袖")),
    "box": (("box", "gift box", "keepsake box", "storage box"), ("盒子", "礼品盒", "收纳盒", "礼盒")),
    "bear": (("teddy bear", "soft toy", "plush bear", "cuddly bear"), ("泰迪熊", "毛绒玩具", "小熊公仔", "毛绒熊")),
    "planter": (("planter", "plant pot", "flower pot", "herb pot"), ("花盆", "花器", "种植盆", "小花盆")),
}
STYLES = (
    (("classic", "traditional", "timeless"), ("经典", "传统", "复古经典")),
    (("modern", "contemporary", "minimalist"), ("现代", "简约", "极简")),
    (("rustic", "country", "farmhouse"), ("乡村", "田园", "质朴")),
    (("vintage", "retro", "old-time"), ("怀旧", "复古", "老式")),
    (("nordic", "scandi", "hygge"), ("北欧", "北欧风", "斯堪的纳维亚")),
    (("cute", "kawaii", "playful"), ("可爱", "萌系", "俏皮")),
)
CLAIMS = {  # what a title says about quality: −1, 0, 1
    -1: (("value", "basic", "everyday"), ("实惠", "基础款", "日常")),
    0: (("",), ("",)),
    1: (("premium", "luxury", "finest"), ("高级", "奢华", "精品")),
}
COLOURS = (
    (("red", "scarlet"), ("红色", "大红")),
    (("orange", "amber"), ("橙色", "琥珀色")),
    (("yellow", "lemon"), ("黄色", "柠檬黄")),
    (("green", "leaf green"), ("绿色", "草绿")),
    (("teal", "turquoise"), ("青色", "蓝绿")),
    (("blue", "navy"), ("蓝色", "藏青")),
    (("purple", "violet"), ("紫色", "紫罗兰")),
    (("pink", "rose"), ("粉色", "玫瑰粉")),
    (("brown", "chocolate"), ("棕色", "咖色")),
    (("grey", "slate"), ("灰色", "石板灰")),
)
MATERIALS = (("ceramic", "陶瓷"), ("cotton", "棉"), ("steel", "钢"), ("wood", "木"), ("glass", "玻璃"), ("recycled", "再生材料"))
BRANDS = (
    ("Alder & Finch", "阿尔德"), ("Bluebell", "蓝铃"), ("Copperleaf", "铜叶"), ("Dovetail", "鸽尾"), ("Ember Lane", "余烬巷"),
    ("Fernwood", "蕨林"), ("Gingham House", "格子屋"), ("Hearthside", "炉边"), ("Ivory Lane", "象牙巷"), ("Juniper", "杜松"),
    ("Kestrel", "红隼"), ("Larkspur", "飞燕"), ("Maple & Co", "枫叶"), ("Nettle", "荨麻"), ("Oakbarn", "橡仓"),
    ("Pebble Bay", "卵石湾"), ("Quill", "羽笔"), ("Rowan", "花楸"), ("Saltmarsh", "盐沼"), ("Thistle", "蓟花"),
    ("Umber", "赭石"), ("Vale", "山谷"), ("Willow Row", "柳行"), ("Yarrow", "蓍草"), ("Zephyr", "和风"),
    ("Auntie Mei", "梅姨"), ("Bamboo Path", "竹径"), ("Cloud Tea", "云茶"), ("Dragonfly", "蜻蜓"), ("Evergreen", "常青"),
    ("Full Moon", "满月"), ("Golden Carp", "金鲤"), ("Harmony", "和韵"), ("Inkstone", "砚台"), ("Jade Hill", "玉山"),
    ("Kite", "风筝"),
)  # fmt: skip
OCCASIONS = (
    ("for every day", "日常使用"),
    ("a lovely gift", "送礼佳品"),
    ("set of two", "两件套"),
    ("new in the shop", "新品上架"),
    ("customers' choice", "顾客之选"),
    ("", ""),
    ("", ""),
    ("", ""),
)
# Reviews by stars, 1 to 5: what the words say follows the quality, as the stars do.
OPENINGS = (
    (("Very disappointed", "Do not buy", "Broke after a week"), ("非常失望", "不要买", "用了一周就坏了")),
    (("Not great", "Expected more", "Poorly made"), ("不太好", "期望更高", "做工较差")),
    (("It is all right", "Does the job", "Average"), ("还可以", "能用", "一般般")),
    (("Really nice", "Good buy", "Happy with it"), ("很不错", "值得买", "挺满意")),
    (("Absolutely love it", "Excellent quality", "Perfect"), ("太喜欢了", "质量非常好", "完美")),
)
REASONS = (
    (
        ("the finish came off", "arrived chipped", "the material feels cheap", "nothing like described"),
        ("掉漆了", "收到就破损", "材质很廉价", "与描述不符"),
    ),
    (("the seams are loose", "thinner than I thought", "smells odd", "colour faded"), ("接缝松动", "比想象的薄", "有异味", "褪色了")),
    (
        ("fine for the price", "neither good nor bad", "delivery took a while", "as pictured"),
        ("对得起价格", "不好不坏", "物流有点慢", "与图片一致"),
    ),
    (("well made", "my sister liked it", "feels solid", "would buy again"), ("做工好", "妹妹很喜欢", "很结实", "会再买")),
    (
        ("beautifully finished", "better than expected", "bought three more", "worth every penny"),
        ("做工精美", "超出预期", "又买了三个", "物超所值"),
    ),
)
DAMAGED = ("damaged", "?", "check", "wrong title", "test")
