# PROMPT_COMMAND is a read-only string
__ro_prompt() { PS1='ro \W \$ '; }
readonly PROMPT_COMMAND=__ro_prompt
