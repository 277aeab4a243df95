"""The words of Quick, Draw! that this project uses, and which of them test and choose.

The data set has 345 words, listed in ``categories.txt`` of
https://github.com/googlecreativelab/quickdraw-dataset; a word's file bears its name.  `WORDS` are
those that were at hand when the lists were made.  Any other word of the data set can be loaded by
its name and is a training word.

The lists were drawn once, before anything was measured on doodles: of the sorted words with at
least 15 recognised drawings at hand (209 of `WORDS`),
``numpy.random.default_rng(1227).permutation`` gives an order; the first 60 words test, the next 25
choose.  More drawings have come to hand since, so that the draw cannot be repeated from them: the
lists stay.
"""

from maml.config import Part

# fmt: off
WORDS: tuple[str, ...] = (
    "The Great Wall of China", "The Mona Lisa", "aircraft carrier", "airplane", "ambulance",
    "angel", "apple", "arm", "asparagus", "banana", "bandage", "baseball", "basket",
    "basketball", "bat", "bathtub", "beach", "bear", "beard", "bed", "bee", "bench", "bicycle",
    "binoculars", "bird", "birthday cake", "book", "bowtie", "bracelet", "brain", "bread",
    "bridge", "broccoli", "bulldozer", "bus", "bush", "butterfly", "cactus", "calendar",
    "camel", "camera", "campfire", "cannon", "canoe", "ceiling fan", "cell phone", "cello",
    "chair", "circle", "clarinet", "clock", "cloud", "coffee cup", "compass", "computer",
    "cookie", "cooler", "couch", "cow", "crab", "crocodile", "cruise ship", "cup", "diamond",
    "dolphin", "donut", "door", "dragon", "dresser", "drill", "duck", "ear", "elbow",
    "elephant", "envelope", "face", "fan", "finger", "firetruck", "fish", "flamingo",
    "flashlight", "floor lamp", "flower", "flying saucer", "foot", "fork", "frog", "garden",
    "garden hose", "grapes", "grass", "guitar", "harp", "headphones", "hedgehog", "helicopter",
    "helmet", "hexagon", "hockey puck", "horse", "hot dog", "hot tub", "hourglass",
    "house plant", "hurricane", "ice cream", "jacket", "jail", "kangaroo", "lantern", "leg",
    "light bulb", "lighthouse", "lightning", "lion", "lobster", "marker", "matches",
    "megaphone", "mermaid", "microphone", "microwave", "monkey", "moon", "motorbike",
    "mountain", "mouse", "moustache", "mouth", "mushroom", "nail", "necklace", "nose", "ocean",
    "octagon", "onion", "oven", "owl", "paint can", "palm tree", "panda", "paper clip",
    "parrot", "passport", "peanut", "peas", "penguin", "pickup truck", "picture frame", "pig",
    "pillow", "pineapple", "pizza", "police car", "pool", "postcard", "purse", "raccoon",
    "radio", "rain", "rainbow", "rake", "rhinoceros", "rifle", "roller coaster", "sailboat",
    "sandwich", "saxophone", "scissors", "sea turtle", "see saw", "shark", "sheep", "shoe",
    "shorts", "shovel", "sink", "skateboard", "skull", "skyscraper", "sleeping bag",
    "smiley face", "snorkel", "snowman", "soccer ball", "sock", "speedboat", "spreadsheet",
    "squirrel", "stairs", "star", "steak", "stereo", "stethoscope", "stop sign", "stove",
    "streetlight", "sun", "swan", "swing set", "t-shirt", "table", "teapot", "television",
    "tennis racquet", "tiger", "toaster", "toe", "toilet", "toothbrush", "toothpaste",
    "tornado", "tractor", "traffic light", "train", "triangle", "trombone", "umbrella", "van",
    "vase", "violin", "washing machine", "watermelon", "waterslide", "wheel", "windmill",
    "wine bottle", "wine glass", "wristwatch", "yoga", "zebra", "zigzag",
)
"""Sorted; what a download fetches."""
TEST_WORDS: tuple[str, ...] = (
    "airplane", "arm", "asparagus", "basket", "bat", "beach", "bear", "bee", "book", "bowtie",
    "broccoli", "calendar", "camel", "cell phone", "chair", "clarinet", "clock", "computer",
    "cookie", "cooler", "cow", "crocodile", "cruise ship", "cup", "elbow", "face", "finger",
    "flower", "foot", "grass", "hockey puck", "hot tub", "house plant", "ice cream", "leg",
    "lion", "microwave", "motorbike", "mouse", "necklace", "paint can", "paper clip", "peanut",
    "pickup truck", "pillow", "purse", "sailboat", "see saw", "sink", "sock", "spreadsheet",
    "streetlight", "swan", "toothpaste", "tractor", "trombone", "vase", "windmill",
    "wine bottle", "yoga",
)
"""For the figures that are published; no choice is made on them."""
CHOOSE_WORDS: tuple[str, ...] = (
    "angel", "bicycle", "butterfly", "campfire", "circle", "envelope", "hedgehog", "helmet",
    "hourglass", "jail", "light bulb", "lighthouse", "mermaid", "nail", "onion", "pig", "rifle",
    "sandwich", "shovel", "skull", "stairs", "stop sign", "toaster", "toe", "umbrella",
)
"""For choices and calibration; not trained on."""
# fmt: on


def part_of(word: str) -> Part:
    """The part of protocol "doodles" that a word belongs to."""
    return "test" if word in TEST_WORDS else "choose" if word in CHOOSE_WORDS else "train"
