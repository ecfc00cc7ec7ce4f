"""The words of the sample shop: departments, their articles and brands, and the styles.

Every brand and series name is invented.
"""

from typing import NamedTuple


class Subcategory(NamedTuple):
    """`price` is the usual range in euros; `peak` the month of the season, 0 for none."""

    name: str
    nouns: tuple[str, ...]
    price: tuple[float, float]
    peak: int = 0


class Department(NamedTuple):
    """Articles that share brands, materials, features and occasions."""

    name: str
    subcategories: tuple[Subcategory, ...]
    brands: tuple[str, ...]
    materials: tuple[str, ...]
    variants: tuple[str, ...]
    features: tuple[str, ...]
    occasions: tuple[str, ...]


class Style(NamedTuple):
    """What a shopper keeps coming back to, across departments."""

    name: str
    adjectives: tuple[str, ...]
    sentences: tuple[str, ...]
    price_factor: float


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|"))


def _sub(name: str, nouns: str, low: float, high: float, peak: int = 0) -> Subcategory:
    return Subcategory(name, _words(nouns), (low, high), peak)


STYLES = (
    Style(
        "minimalist",
        _words("Minimal|Plain|Clean-Line|Understated|Pure|Quiet|Slim|Simple"),
        _words(
            "Nothing on it that does not have to be there|Drawn with as few lines as possible"
            "|It takes up little room and asks for no attention|A calm piece that goes with all"
        ),
        1.1,
    ),
    Style(
        "rustic",
        _words("Rustic|Farmhouse|Weathered|Hand-Finished|Country|Rugged|Heritage|Old-Mill"),
        _words(
            "Each piece shows the marks of the hand that finished it|It looks better as it ages"
            "|With the warmth of an old farmhouse|Made the way it was done in the village"
        ),
        1.0,
    ),
    Style(
        "vintage",
        _words("Vintage|Retro|Fifties|Classic|Antique-Look|Nostalgic|Art-Deco|Old-School"),
        _words(
            "Modelled on an original of the fifties|It could have come from a flea market in Lyon"
            "|With the curves and colours of another decade|For everyone who likes it retro"
        ),
        1.15,
    ),
    Style(
        "sporty",
        _words("Sport|Active|Lightweight|Dynamic|Pro-Grip|All-Weather|Endurance|Quick-Dry"),
        _words(
            "Tested by people who are outdoors every day|Light enough to forget you carry it"
            "|Takes knocks, rain and mud in its stride|Built for those who cannot sit still"
        ),
        1.05,
    ),
    Style(
        "eco",
        _words("Organic|Recycled|Natural|Fair-Trade|Plastic-Free|Earth-Friendly|Low-Waste|Green"),
        _words(
            "Made with renewable energy and shipped without plastic|Every part can be recycled"
            "|Certified from the field to the finished piece|Repairable, with spare parts on sale"
        ),
        1.2,
    ),
    Style(
        "premium",
        _words("Premium|Signature|Grand|Luxury|Master|Reserve|Exclusive|Atelier"),
        _words(
            "Finished by hand in small numbers|Comes in a box that makes a wrapping unnecessary"
            "|For those who buy once and keep it|The best that this house makes"
        ),
        2.2,
    ),
    Style(
        "playful",
        _words("Happy|Rainbow|Funny|Colourful|Confetti|Jolly|Bubble|Sunny"),
        _words(
            "Brings colour into any grey morning|Guaranteed to make guests smile"
            "|With a wink in every detail|Bright, cheerful and a little silly"
        ),
        0.85,
    ),
    Style(
        "budget",
        _words("Everyday|Basic|Smart-Buy|Essential|Starter|Handy|Value|Family-Pack"),
        _words(
            "Does what it should and costs little|A sound choice for the first flat"
            "|Plain packaging, honest quality|For every day, with no fuss about it"
        ),
        0.6,
    ),
)

SERIES = _words(
    "Aurora|Lumen|Nordvik|Solano|Tiverton|Marlow|Halden|Kestrel|Orchard|Bluff|Cinder|Delphi"
    "|Ember|Fjord|Granite|Harbour|Iris|Juniper|Kyoto|Linden|Meridian|Nova|Ostara|Pebble|Quill"
    "|Ravenna|Sable|Tundra|Umbra|Valley|Willow|Yarrow|Zephyr|Alder|Birch|Coral|Dune|Echo"
    "|Fennel|Glacier|Heron|Indigo|Jasper|Kelp|Larch|Maple|Nimbus|Onyx|Prairie|Quartz|Reed"
    "|Sierra|Thistle|Upland|Vesper|Wren|Aspen|Brook|Cedar|Drift|Elm|Flint|Grove|Haven"
)

COLOURS = _words(
    "black|white|sand|navy|sage green|terracotta|slate grey|mustard|ivory|burgundy|sky blue"
    "|forest green|coral|charcoal|copper|lavender"
)

DEPARTMENTS = (
    Department(
        "Kitchen",
        (
            _sub("Cookware", "Frying Pan|Casserole|Saucepan|Wok|Stockpot|Grill Pan", 15, 140),
            _sub("Knives", "Chef's Knife|Bread Knife|Paring Knife|Knife Block|Santoku", 12, 160),
            _sub("Tableware", "Dinner Plate Set|Bowl Set|Mug|Serving Dish|Carafe", 9, 90, 12),
            _sub("Baking", "Cake Tin|Rolling Pin|Muffin Tray|Mixing Bowl|Cookie Cutter Set", 5, 45),
        ),
        _words("Castello & Figli|Brennholt|Ovenbird|Pot & Pepper|Lindqvist|Kupferhof|Mesa Nove"),
        _words("Cast Iron|Stainless Steel|Stoneware|Copper|Beechwood|Enamel"),
        _words("20 cm|24 cm|28 cm|Set of 4|Set of 6|1.5 l"),
        _words(
            "it is safe in the dishwasher|it works on every hob, induction included"
            "|the handle stays cool|it keeps its heat for long|nothing sticks to the coating"
        ),
        _words("Sunday lunch|quick weekday dinners|large families|small kitchens|a wedding gift"),
    ),
    Department(
        "Coffee & Tea",
        (
            _sub("Coffee Beans", "Espresso Beans|Filter Roast|Decaf Beans|House Blend", 6, 32),
            _sub(
                "Coffee Gear",
                "Espresso Machine|Hand Grinder|Pour-Over Set|French Press|Milk Frother",
                18,
                420,
            ),
            _sub("Loose Tea", "Green Tea|Earl Grey|Rooibos|Oolong|Herbal Infusion", 4, 28, 11),
            _sub("Tea Ware", "Teapot|Tea Infuser|Cup and Saucer|Electric Kettle", 8, 110, 11),
        ),
        _words("Monte Corvo|Stillpoint|Kaffa Road|Leaf & Lantern|Duskbrew|Puro Mattino"),
        _words("Single-Origin|Small-Batch|Slow-Roasted|Porcelain|Glass|Brushed Steel"),
        _words("250 g|500 g|1 kg|0.6 l|1 l|for 2 cups"),
        _words(
            "with notes of cocoa and orange|with a long, clean finish|it brews in four minutes"
            "|it is easy to take apart and clean|with a floral scent and little bitterness"
        ),
        _words("slow mornings|the office|an afternoon with guests|travellers|late evenings"),
    ),
    Department(
        "Living",
        (
            _sub(
                "Lighting", "Table Lamp|Floor Lamp|Pendant Light|Lantern|Reading Light", 19, 260, 11
            ),
            _sub("Cushions & Throws", "Cushion|Throw|Blanket|Pouffe|Cushion Cover", 12, 120, 11),
            _sub("Storage", "Storage Basket|Shelf|Coat Rack|Storage Box|Sideboard", 9, 340, 1),
            _sub(
                "Candles & Scents",
                "Scented Candle|Reed Diffuser|Candle Holder|Tea Lights",
                5,
                60,
                12,
            ),
        ),
        _words("Hygghus|Oak & Alley|Casa Lumbre|Northlight|Velours Paris|Tidewater Home"),
        _words("Linen|Oak|Rattan|Wool|Brass|Smoked Glass"),
        _words("30 x 50 cm|45 x 45 cm|large|medium|small|Set of 2"),
        _words(
            "it casts a soft, warm light|the cover comes off for washing|it stacks when not in use"
            "|it burns for more than forty hours|it is put together without tools"
        ),
        _words("reading corners|narrow halls|winter evenings|a first flat|the guest room"),
    ),
    Department(
        "Bed & Bath",
        (
            _sub("Bedding", "Duvet Cover|Fitted Sheet|Pillowcase Pair|Bedspread", 14, 160),
            _sub("Pillows & Duvets", "Down Pillow|Duvet|Neck Pillow|Mattress Topper", 18, 240, 11),
            _sub("Towels", "Bath Towel|Hand Towel Set|Bath Mat|Hammam Towel", 8, 75),
            _sub("Bathroom", "Soap Dispenser|Shower Curtain|Mirror|Laundry Basket", 7, 95),
        ),
        _words("Schlummer|Cotton Quay|Morpheo|Blanc Matin|Ripple & Rest|Dormeo"),
        _words("Percale|Sateen|Terry|Bamboo|Washed Cotton|Muslin"),
        _words("135 x 200 cm|155 x 220 cm|50 x 100 cm|70 x 140 cm|king size|Set of 3"),
        _words(
            "it gets softer with every wash|it dries overnight|it breathes in summer"
            "|it suits people with allergies|the seams are double stitched"
        ),
        _words("light sleepers|hot nights|the spa at home|children's rooms|guests"),
    ),
    Department(
        "Garden",
        (
            _sub(
                "Planters & Pots",
                "Planter|Hanging Basket|Flower Pot|Raised Bed|Window Box",
                6,
                130,
                4,
            ),
            _sub(
                "Seeds & Bulbs", "Wildflower Seeds|Tomato Seeds|Tulip Bulbs|Herb Seed Kit", 2, 18, 3
            ),
            _sub("Garden Tools", "Pruning Shears|Hand Trowel|Watering Can|Rake|Spade", 7, 80, 4),
            _sub(
                "Outdoor Furniture",
                "Garden Chair|Hammock|Bistro Table|Parasol|Fire Bowl",
                35,
                480,
                6,
            ),
        ),
        _words("Greenwright|Terra Mosa|Bramble & Sons|Jardin Clair|Robin's Yard|Sorrel"),
        _words("Terracotta|Teak|Galvanised Steel|Acacia|Fibrestone|Willow"),
        _words("small|medium|large|extra large|Set of 3|1.2 m"),
        _words(
            "it stays outside in frost|bees and butterflies love it|the blade can be resharpened"
            "|it has holes for drainage|it folds flat for winter"
        ),
        _words("balconies|the kitchen garden|shady corners|summer parties|beginners"),
    ),
    Department(
        "Outdoor",
        (
            _sub("Tents & Sleeping", "Trekking Tent|Sleeping Bag|Sleeping Mat|Tarp", 29, 520, 6),
            _sub("Backpacks", "Daypack|Trekking Backpack|Dry Bag|Hip Pack", 19, 240, 6),
            _sub(
                "Hiking Gear", "Trekking Poles|Headlamp|Water Filter|Camp Stove|Compass", 12, 150, 7
            ),
            _sub("Rainwear", "Rain Jacket|Poncho|Rain Trousers|Gaiters", 22, 280, 10),
        ),
        _words("Stormcairn|Ridgeline Co.|Vargtind|Basecamp Nine|Alpenglow|Moss & Mile"),
        _words("Ripstop|Merino|Aluminium|Cordura|Waxed Canvas|Down"),
        _words("12 l|28 l|45 l|1 person|2 persons|size M|size L"),
        _words(
            "it weighs less than a loaf of bread|the zips are watertight|it packs into its pocket"
            "|it withstands wind of force nine|every strap can be adjusted with gloves on"
        ),
        _words(
            "alpine tours|weekend hikes|festival summers|long-distance trails|the Scottish coast"
        ),
    ),
    Department(
        "Cycling",
        (
            _sub("Bike Lights & Locks", "Front Light|Rear Light|Folding Lock|U-Lock", 9, 120, 10),
            _sub("Bike Bags", "Pannier|Handlebar Bag|Saddle Bag|Frame Bag", 15, 150, 5),
            _sub(
                "Helmets", "City Helmet|Road Helmet|Mountain Bike Helmet|Kids' Helmet", 29, 210, 4
            ),
            _sub("Bike Parts", "Saddle|Handlebar Grips|Pedals|Tyre|Chain", 8, 130, 4),
        ),
        _words("Velodrift|Spoke & Crown|Pedalworks|Ruota Nera|Fietsfabriek|Tailwind"),
        _words("Carbon|Aluminium|Leather|Cork|Reflective|Steel"),
        _words("28 inch|29 inch|54-58 cm|58-62 cm|15 l|80 lux"),
        _words(
            "it clips on in a second|it is charged by USB|it is seen from 500 metres"
            "|it has eighteen air vents|it survives a winter of salt"
        ),
        _words("commuters|gravel roads|tours with children|night rides|race days"),
    ),
    Department(
        "Sport & Fitness",
        (
            _sub("Yoga", "Yoga Mat|Yoga Block|Meditation Cushion|Yoga Strap", 9, 110, 1),
            _sub("Strength", "Kettlebell|Dumbbell Pair|Resistance Bands|Pull-Up Bar", 12, 160, 1),
            _sub("Running", "Running Shoes|Running Belt|Running Shirt|Sports Watch", 15, 260, 4),
            _sub("Swimming", "Swim Goggles|Swimsuit|Swim Cap|Kickboard", 8, 90, 7),
        ),
        _words("Kinetik|Asana Loft|Tempo Run|Ironpetal|Blue Lane|Momentum Nord"),
        _words("Cork|Natural Rubber|Neoprene|Cast Iron|Mesh|Silicone"),
        _words("size S|size M|size L|8 kg|12 kg|5 mm"),
        _words(
            "it does not slip when wet|it rolls up small|the grip is easy on the hands"
            "|it wicks moisture away|the foam returns energy with each step"
        ),
        _words("morning routines|the home gym|marathon plans|physiotherapy|open water"),
    ),
    Department(
        "Audio & Photo",
        (
            _sub(
                "Headphones", "Over-Ear Headphones|Earbuds|Studio Headphones|Headset", 25, 420, 12
            ),
            _sub(
                "Speakers",
                "Bluetooth Speaker|Bookshelf Speaker|Soundbar|Kitchen Radio",
                29,
                520,
                12,
            ),
            _sub(
                "Turntables & Vinyl",
                "Turntable|Record Brush|Vinyl Storage Crate|Phono Preamp",
                15,
                480,
            ),
            _sub("Cameras", "Instant Camera|Camera Bag|Tripod|Camera Strap|Film Pack", 14, 390, 7),
        ),
        _words("Sonarc|Halcyon Audio|Klangwerk|Obscura|Brightbox|Loop & Lens"),
        _words("Walnut|Aluminium|Noise-Cancelling|Wireless|Hi-Res|Leather"),
        _words("2nd generation|compact|20 W|60 W|XL|with case"),
        _words(
            "the battery lasts thirty hours|voices stay natural|it pairs with two devices at once"
            "|the bass is deep without booming|spare parts are sold singly"
        ),
        _words("long flights|home offices|small living rooms|collectors|family holidays"),
    ),
    Department(
        "Computing",
        (
            _sub(
                "Keyboards & Mice",
                "Mechanical Keyboard|Wireless Mouse|Trackball|Wrist Rest",
                15,
                210,
            ),
            _sub(
                "Chargers & Cables",
                "USB-C Charger|Power Bank|Braided Cable|Wireless Charger",
                9,
                95,
            ),
            _sub(
                "Desk Setup", "Monitor Arm|Laptop Stand|Docking Station|Webcam|Desk Mat", 19, 260, 9
            ),
            _sub("Smart Home", "Smart Plug|Thermostat|Motion Sensor|LED Bulb Kit", 12, 180, 11),
        ),
        _words("Keyforge|Voltaic|Nodeline|Pixelpine|Tactile Lab|Hubbly"),
        _words("Aluminium|Hot-Swap|Low-Profile|Silent|Felt|Braided"),
        _words("65 W|100 W|10,000 mAh|ISO layout|2 m|3-pack"),
        _words(
            "it works without an app|it needs no driver|it charges a laptop in ninety minutes"
            "|the cable is braided and replaceable|it keeps cables out of sight"
        ),
        _words("shared desks|programmers|gamers|digital nomads|the living room"),
    ),
    Department(
        "Fashion",
        (
            _sub("Knitwear", "Cardigan|Pullover|Knitted Vest|Turtleneck|Scarf", 25, 190, 11),
            _sub("Shirts & Tops", "Oxford Shirt|T-Shirt|Linen Blouse|Polo|Henley", 12, 110, 6),
            _sub(
                "Trousers & Skirts", "Chinos|Jeans|Midi Skirt|Corduroy Trousers|Culottes", 25, 160
            ),
            _sub("Coats & Jackets", "Parka|Trench Coat|Denim Jacket|Quilted Jacket", 49, 420, 10),
        ),
        _words("Maison Orrin|Threadneedle|Loden & Lark|Sundry|Fabrik 12|Calle Ocho"),
        _words("Organic Cotton|Lambswool|Linen|Denim|Corduroy|Cashmere"),
        _words("size XS|size S|size M|size L|size XL|plus size"),
        _words(
            "it is cut a little wider|it can be worn on two sides|the buttons are real horn"
            "|it needs no ironing|the collar keeps its shape"
        ),
        _words("the office|long weekends|cool evenings|layering|a summer wedding"),
    ),
    Department(
        "Shoes & Bags",
        (
            _sub("Sneakers", "Low Sneaker|High-Top|Slip-On|Trainer", 39, 190),
            _sub("Boots", "Chelsea Boot|Winter Boot|Ankle Boot|Wellington", 45, 290, 11),
            _sub("Handbags", "Tote Bag|Crossbody Bag|Shopper|Clutch", 19, 320),
            _sub("Wallets & Belts", "Wallet|Card Holder|Belt|Key Case", 12, 120, 12),
        ),
        _words("Cobbler's Yard|Passo|Nørre Leather|Ferrywalk|Satchel Street|Solid Sole"),
        _words("Suede|Full-Grain Leather|Canvas|Vegan Leather|Nubuck|Felt"),
        _words("size 37|size 39|size 41|size 43|small|large"),
        _words(
            "the sole can be replaced|it has a pocket for a laptop|the lining is soft and warm"
            "|it gains a patina|the stitching is done by hand"
        ),
        _words("city breaks|rainy days|the theatre|everyday errands|business travel"),
    ),
    Department(
        "Toys & Games",
        (
            _sub(
                "Building Sets",
                "Marble Run|Building Blocks|Train Set|Construction Kit",
                15,
                160,
                12,
            ),
            _sub(
                "Board Games", "Strategy Game|Cooperative Game|Card Game|Quiz|Dice Game", 9, 75, 12
            ),
            _sub("Puzzles", "1000-Piece Puzzle|3D Puzzle|Wooden Puzzle|Brain Teaser", 7, 48, 12),
            _sub("Soft Toys", "Teddy Bear|Plush Fox|Hand Puppet|Rag Doll|Cuddle Whale", 9, 65, 12),
        ),
        _words("Tinkerbarn|Spielkiste|Owl & Otter|Meeple Mountain|Petit Renard|Jigsmith"),
        _words("Beech|Cardboard|Cotton|Maple|Felt|Magnetic"),
        _words("from 3 years|from 6 years|from 8 years|from 12 years|2-4 players|60 pieces"),
        _words(
            "the rules are explained in five minutes|all corners are rounded|no two games are alike"
            "|it can be combined with all other sets|the paint is safe for small mouths"
        ),
        _words("rainy Sundays|birthdays|grandparents|long train rides|game nights"),
    ),
    Department(
        "Beauty & Care",
        (
            _sub("Skin Care", "Face Cream|Cleansing Foam|Serum|Sun Lotion|Lip Balm", 5, 85, 6),
            _sub("Hair Care", "Shampoo Bar|Conditioner|Hair Oil|Hair Brush", 5, 55),
            _sub("Fragrance", "Eau de Parfum|Cologne|Perfume Oil|Body Mist", 19, 180, 12),
            _sub("Shaving", "Safety Razor|Shaving Soap|Beard Oil|Aftershave", 7, 95, 12),
        ),
        _words("Sève|Botanica Lume|Petrichor|Salt & Sage|Herr Winter|Dewpoint"),
        _words("Rosehip|Oat Milk|Cedarwood|Aloe Vera|Sea Salt|Bergamot"),
        _words("30 ml|50 ml|100 ml|250 ml|travel size|refill"),
        _words(
            "it is free of perfume|dermatologists have tested it|it sinks in within a minute"
            "|it lasts from morning to night|a little goes a long way"
        ),
        _words("sensitive skin|dry winters|the gym bag|curly hair|a present at short notice"),
    ),
    Department(
        "Pets",
        (
            _sub("Dogs", "Dog Bed|Dog Lead|Chew Toy|Dog Bowl|Dog Coat", 8, 140),
            _sub("Cats", "Cat Tree|Scratching Post|Cat Cave|Feather Wand|Litter Tray", 6, 180),
            _sub("Birds & Wildlife", "Bird Feeder|Nest Box|Hedgehog House|Insect Hotel", 9, 80, 11),
            _sub(
                "Aquarium", "Nano Aquarium|Aquarium Filter|Aquascaping Stones|LED Light Bar", 9, 230
            ),
        ),
        _words("Good Paw|Whiskerwood|Finch & Fir|Aqualine|Barkley|Tail End"),
        _words("Jute|Hemp|Larch|Orthopaedic Foam|Sisal|Glass"),
        _words("size S|size M|size L|30 l|60 l|Set of 2"),
        _words(
            "it goes into the washing machine|vets have tried it|claws do it no harm"
            "|it is opened for cleaning in a moment|it stands firm when the fun begins"
        ),
        _words("puppies|old friends|indoor cats|the garden hedge|beginners"),
    ),
    Department(
        "Stationery & Craft",
        (
            _sub("Notebooks", "Notebook|Planner|Sketchbook|Address Book|Journal", 4, 48, 12),
            _sub(
                "Writing",
                "Fountain Pen|Rollerball|Mechanical Pencil|Ink Bottle|Brush Pen",
                3,
                160,
                9,
            ),
            _sub("Painting", "Watercolour Set|Acrylic Set|Brush Set|Easel|Gouache Set", 7, 120, 10),
            _sub("Sewing & Knitting", "Yarn|Knitting Needles|Sewing Kit|Fabric Bundle", 4, 90, 10),
        ),
        _words("Paperweight|Inkwell & Co.|Falter|Pigment House|Woolgather|Atelier Brume"),
        _words("Recycled Paper|Brass|Merino|Sable|Cotton|Walnut"),
        _words("A4|A5|A6|12 colours|24 colours|100 g"),
        _words(
            "ink does not bleed through|it lies flat when open|the colours stay bright in the sun"
            "|it is refilled, never thrown away|even left-handers get on with it"
        ),
        _words("letters|travel diaries|evening classes|school|long winter evenings"),
    ),
)
