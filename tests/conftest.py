import sys
from pathlib import Path

# `installation` is shared by several folders of tests, which are not packages.
sys.path.insert(0, str(Path(__file__).parent))
