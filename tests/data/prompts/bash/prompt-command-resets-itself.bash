# the prompt command sets PROMPT_COMMAND as a string and PS1 and PS0 anew each time: added text is lost, but added array elements stay
__mine_only() { PROMPT_COMMAND=__mine_only; PS1='mine \W ⚡ '; PS0=; }
PROMPT_COMMAND=__mine_only
