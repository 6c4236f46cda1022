"""Importing it goes over to the interpreter that BITDIAL_PYTHON names, which has the packages of requirements.txt."""
import os
import sys

python = os.environ.pop("BITDIAL_PYTHON", "")  # once, whatever that interpreter calls itself
if python and python != sys.executable:
    os.execv(python, [python, *sys.argv])
