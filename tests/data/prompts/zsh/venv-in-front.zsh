# a virtual environment has put (venv) in front of an ordinary prompt
export VIRTUAL_ENV=$HOME/venv
PROMPT='%n@%m %1~ %# '
PROMPT="(venv) $PROMPT"
