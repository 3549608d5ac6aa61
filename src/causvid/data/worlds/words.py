"""Every word a caption can use, by what it says.

Tables only; `caption` makes sentences of them. A phrase belongs to one value of one
factor, so a text can be checked against the scene it describes.
"""

KINDS: dict[str, tuple[str, ...]] = {
    "ball": ("ball", "ball", "sphere"),
    "box": ("box", "box", "square", "cube"),
    "triangle": ("triangle",),
    "star": ("star",),
    "ring": ("ring", "ring", "hoop"),
    "heart": ("heart",),
}
UNNAMED = ("object", "shape", "thing")
"""For an object whose kind is not told."""

COLOURS: dict[str, tuple[str, ...]] = {
    "red": ("red", "red", "red", "crimson"),
    "green": ("green", "green", "green", "emerald"),
    "blue": ("blue",),
    "yellow": ("yellow", "yellow", "yellow", "golden"),
    "purple": ("purple", "purple", "purple", "violet"),
    "white": ("white",),
}

MOTIONS: dict[str, tuple[tuple[str, str], ...]] = {  # (it ..., a thing ...)
    "sweep": (
        ("moves left and right", "moving left and right"),
        ("slides left and right", "sliding left and right"),
        ("moves from side to side", "moving from side to side"),
        ("slides from side to side", "sliding from side to side"),
    ),
    "bounce": (
        ("bounces", "bouncing"),
        ("bounces up and down", "bouncing up and down"),
        ("jumps", "jumping"),
        ("jumps up and down", "jumping up and down"),
    ),
    "circle": (
        ("circles around", "circling around"),
        ("moves in a circle", "moving in a circle"),
        ("goes round and round", "going round and round"),
    ),
    "diagonal": (
        ("moves diagonally", "moving diagonally"),
        ("slides diagonally", "sliding diagonally"),
        ("goes up and down a slope", "going up and down a slope"),
    ),
    "still": (
        ("stays still", "staying still"),
        ("rests", "resting"),
        ("does not move", "not moving"),
        ("sits still", "sitting still"),
    ),
}

PLACES: dict[str, dict[str, tuple[str, ...]]] = {  # what stands beside a verb
    "sky": {
        "day": ("under a blue sky", "during the day", "on a bright day", "in daylight"),
        "sunset": ("at sunset", "under an orange sky", "in the evening"),
        "night": ("at night", "under a dark sky", "in the dark"),
        "cloudy": ("under a grey sky", "on a cloudy day", "under a cloudy sky"),
    },
    "ground": {
        "grass": ("on the grass", "over the grass", "in a meadow", "in a green field"),
        "sand": ("on the sand", "over the sand", "on a beach", "in the desert"),
        "water": ("on the water", "over the water", "over the sea", "on a lake"),
        "snow": ("on the snow", "over snowy ground", "in a snowy field", "on snowy ground"),
    },
    "weather": {
        "clear": ("in clear weather", "in dry weather", "while it is dry"),
        "rain": ("in the rain", "while it rains", "with rain falling", "in rainy weather"),
        "snow": ("while it snows", "with snow falling", "in snowy weather", "while snowflakes fall"),
    },
}

TAGS: dict[str, dict[str, tuple[str, ...]]] = {  # what stands alone in a list
    "sky": {
        "day": ("day", "blue sky"),
        "sunset": ("sunset", "orange sky"),
        "night": ("night", "dark sky"),
        "cloudy": ("clouds", "grey sky"),
    },
    "ground": {
        "grass": ("grass", "meadow"),
        "sand": ("sand", "beach"),
        "water": ("water", "sea"),
        "snow": ("snowy ground", "snowy field"),
    },
    "weather": {
        "clear": ("clear weather", "dry"),
        "rain": ("rain", "rainy weather"),
        "snow": ("falling snow", "snowy weather"),
    },
}

CHANGES: dict[str, dict[str, tuple[str, ...]]] = {  # what can happen
    "sky": {
        "day": ("it is day", "the day begins", "the sky turns blue", "the sun comes up"),
        "sunset": ("the sun sets", "the sky turns orange", "it is evening"),
        "night": ("it is night", "night falls", "it gets dark", "the sky turns dark"),
        "cloudy": ("clouds come up", "the sky turns grey", "it gets cloudy"),
    },
    "ground": {
        "grass": ("the ground turns to grass", "grass grows"),
        "sand": ("the ground turns to sand", "the ground is sand"),
        "water": ("the ground turns to water", "the ground is water"),
        "snow": ("the ground turns to snow", "snow covers the ground"),
    },
    "weather": {
        "clear": ("the weather gets dry", "the weather clears", "it is dry"),
        "rain": ("it rains", "it starts to rain", "rain falls"),
        "snow": ("it snows", "it starts to snow", "snowflakes fall"),
    },
}
STOPS = {
    "rain": ("the rain stops", "it stops raining"),
    "snow": ("it stops snowing", "the snow stops falling"),
}
"""How weather ends, by what it was."""

TURNS = ("turns", "becomes", "changes to")
"""Between an object and its new colour."""

OPENINGS = ("there is", "we see", "a video of", "a clip of")
SOON = ("then", "now", "suddenly")
OTHER = ("a", "an", "and", "the", "it", "is", "with", "while", "but", "later", "into")
"""Grammar, and a few connectives that only people will use."""
