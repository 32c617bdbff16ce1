# a virtual environment has put (venv) in front of an ordinary prompt, and kept the old one in a variable
VIRTUAL_ENV=$HOME/venv
_OLD_VIRTUAL_PS1='\u@\h:\w\$ '
PS1="(venv) ${_OLD_VIRTUAL_PS1}"
export VIRTUAL_ENV
