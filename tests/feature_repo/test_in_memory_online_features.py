import subprocess
import sys

SCRIPT = """
import sys
from pathlib import Path
from feature_repo.open_online_features import open_online_features
from feature_repo.schema import User
store = open_online_features("memory://", Path("none"))
store.push([User(user_id="u1")])
print(store.get(User, ["u1"])[0].user_id, "feast" in sys.modules)
"""


def test_no_feast_is_imported_for_features_in_memory() -> None:
    """It takes seconds, and changes the environment unless `import_feast` imports it."""
    told = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True)
    assert told.stdout.split() == [b"u1", b"False"]
