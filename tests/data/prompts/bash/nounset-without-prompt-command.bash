# set -o nounset and PROMPT_COMMAND not set: a hook that reads it without a default fails
unset PROMPT_COMMAND PS0
set -o nounset
PS1='${VIRTUAL_ENV:+(env) }\W \$ '
