# the prompt takes most of half a second to come after each command; keys typed meanwhile are echoed above it
__slow() { sleep 0.4; }
PROMPT_COMMAND=__slow
PS1='slow \W \$ '
