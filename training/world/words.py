"""The words of the captions: several ways to say each fact of a scene."""

NOUNS: dict[str, tuple[str, ...]] = {
    "ball": ("ball", "ball", "rubber ball", "beach ball"),
    "cube": ("cube", "cube", "block", "box"),
    "star": ("star", "star", "star with a smile", "smiling star"),
    "heart": ("heart", "heart", "shiny heart", "love heart"),
    "cat": ("cat", "cat", "kitten", "kitty"),
    "fish": ("fish", "fish", "striped fish", "tropical fish"),
    "car": ("car", "car", "little car", "automobile"),
    "boat": ("boat", "boat", "sailboat", "sailing boat"),
    "rocket": ("rocket", "rocket", "rocket ship", "spaceship"),
    "robot": ("robot", "robot", "toy robot", "friendly robot"),
}

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "red", "bright red", "crimson"),
    "orange": ("orange", "orange", "bright orange", "vivid orange"),
    "yellow": ("yellow", "yellow", "bright yellow", "golden"),
    "green": ("green", "green", "bright green", "emerald"),
    "teal": ("teal", "teal", "turquoise", "cyan"),
    "blue": ("blue", "blue", "deep blue", "royal blue"),
    "purple": ("purple", "purple", "violet", "deep purple"),
    "pink": ("pink", "pink", "bright pink", "hot pink"),
}

# Finite form and -ing form of each way to move.
VERBS: dict[str, tuple[tuple[str, str], ...]] = {
    "moves left": (
        ("moves left", "moving left"),
        ("moves to the left", "moving to the left"),
        ("travels left", "travelling left"),
        ("slides to the left", "sliding to the left"),
        ("goes from right to left", "going from right to left"),
        ("glides leftward", "gliding leftward"),
        ("heads left", "heading left"),
    ),
    "moves right": (
        ("moves right", "moving right"),
        ("moves to the right", "moving to the right"),
        ("travels right", "travelling right"),
        ("slides to the right", "sliding to the right"),
        ("goes from left to right", "going from left to right"),
        ("glides rightward", "gliding rightward"),
        ("heads right", "heading right"),
    ),
    "bounces": (
        ("bounces", "bouncing"),
        ("bounces up and down", "bouncing up and down"),
        ("hops", "hopping"),
        ("hops up and down", "hopping up and down"),
        ("jumps again and again", "jumping again and again"),
        ("keeps bouncing", "bouncing happily"),
    ),
    "spins": (
        ("spins", "spinning"),
        ("spins around", "spinning around"),
        ("rotates", "rotating"),
        ("turns around and around", "turning around and around"),
        ("twirls", "twirling"),
        ("whirls in place", "whirling in place"),
    ),
    "grows": (
        ("grows", "growing"),
        ("grows larger", "growing larger"),
        ("gets bigger", "getting bigger"),
        ("becomes bigger and bigger", "becoming bigger and bigger"),
        ("swells up", "swelling up"),
        ("expands", "expanding"),
    ),
    "shrinks": (
        ("shrinks", "shrinking"),
        ("gets smaller", "getting smaller"),
        ("becomes smaller and smaller", "becoming smaller and smaller"),
        ("shrinks away", "shrinking away"),
        ("dwindles", "dwindling"),
    ),
    "rises": (
        ("rises", "rising"),
        ("rises into the air", "rising into the air"),
        ("floats up", "floating up"),
        ("goes up", "going up"),
        ("flies upward", "flying upward"),
        ("lifts off the ground", "lifting off the ground"),
    ),
    "falls": (
        ("falls", "falling"),
        ("falls down", "falling down"),
        ("drops", "dropping"),
        ("drops from above", "dropping from above"),
        ("comes down", "coming down"),
        ("sinks to the ground", "sinking to the ground"),
    ),
    "stays still": (
        ("stays still", "staying still"),
        ("stands still", "standing still"),
        ("does not move", "standing motionless"),
        ("rests in place", "resting in place"),
        ("waits quietly", "waiting quietly"),
    ),
}

WHERE: dict[str, tuple[str, ...]] = {
    "meadow": ("in a meadow", "in a green meadow", "on a grassy field", "across a meadow", "on the grass"),
    "snow": ("in the snow", "on a snowy field", "in a snowy landscape", "on the ice", "in the winter mountains"),
    "desert": ("in a desert", "in the desert", "on sand dunes", "in a sandy desert", "among cacti"),
    "beach": ("on a beach", "on the beach", "by the sea", "at the seaside", "on the shore"),
    "forest": ("in a forest", "in the forest", "in the woods", "among the trees", "between tall trees"),
    "city": ("in a city", "in the city", "on a city street", "in front of tall buildings", "downtown"),
    "night": ("at night", "under the night sky", "under the moon", "in the moonlight", "on a dark night"),
    "room": ("in a room", "inside a room", "indoors", "in a living room", "in front of a window"),
}  # fmt: skip

SETTINGS: dict[str, tuple[str, ...]] = {
    "meadow": ("a meadow with soft hills", "a green meadow", "a grassy field under a blue sky"),
    "snow": ("a snowy field with mountains", "a winter landscape", "snow and pine trees"),
    "desert": ("a desert with dunes", "a sandy desert with cacti", "the dry desert"),
    "beach": ("a beach with palm trees", "a sandy beach by the sea", "the seaside"),
    "forest": ("a forest with tall trunks", "the woods", "a quiet forest"),
    "city": ("a city with tall buildings", "a city street", "a grey town"),
    "night": ("a dark night with a moon", "the night sky over dark hills", "a moonlit night"),
    "room": ("a room with a window", "a living room with a wooden floor", "the inside of a house"),
}

# A full clause and a participle for each camera move.
CAMERA_WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "still": (("the camera stays still", "with a still camera"), ("the camera does not move", "in a static shot")),
    "pans left": (
        ("the camera pans left", "panning left"),
        ("the camera pans to the left", "with a pan to the left"),
        ("the view pans left", "in a shot that pans left"),
    ),
    "pans right": (
        ("the camera pans right", "panning right"),
        ("the camera pans to the right", "with a pan to the right"),
        ("the view pans right", "in a shot that pans right"),
    ),
    "zooms in": (
        ("the camera zooms in", "zooming in"),
        ("the camera slowly zooms in", "with a zoom in"),
        ("the view zooms in", "in a shot that zooms in"),
    ),
    "zooms out": (
        ("the camera zooms out", "zooming out"),
        ("the camera slowly zooms out", "with a zoom out"),
        ("the view zooms out", "in a shot that zooms out"),
    ),
    "tilts up": (
        ("the camera tilts up", "tilting up"),
        ("the camera tilts upward", "with a tilt up"),
    ),
    "tilts down": (
        ("the camera tilts down", "tilting down"),
        ("the camera tilts downward", "with a tilt down"),
    ),
}

RELATION_WORDS: dict[str, tuple[str, ...]] = {
    "left of": ("to the left of", "left of", "on the left side of"),
    "right of": ("to the right of", "right of", "on the right side of"),
    "behind": ("behind", "in back of"),
    "in front of": ("in front of", "before"),
}

SIGN_WORDS = ('a sign says "{}"', 'a banner reads "{}"', 'a board with the word "{}"', 'the word "{}" on a sign')

STYLE_WORDS: dict[str, tuple[str, ...]] = {
    "plain": ("in a flat cartoon style", "as a simple cartoon"),
    "sketch": ("as a pencil sketch", "in sketch style", "drawn in pencil"),
    "vintage": ("in vintage style", "like an old film", "in faded sepia tones"),
    "dusk": ("at dusk", "in dim evening light", "in dusk style"),
}

PLACE_PHRASES = {
    "meadow": "in a meadow",
    "snow": "in the snow",
    "desert": "in a desert",
    "beach": "on a beach",
    "forest": "in a forest",
    "city": "in a city",
    "night": "at night",
    "room": "in a room",
}
"""The one plain way to name each place, used by the canonical caption."""
