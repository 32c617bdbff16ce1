# ignoredups, erasedups and a time format; history is written after each command and numbered in the prompt
HISTCONTROL=ignoredups:erasedups
HISTTIMEFORMAT='%F %T '
HISTSIZE=500
PROMPT_COMMAND='builtin history -a'
PS1='\! \W \$ '
