# print and printf are functions and precmd an alias of the person's own, so a hook must say builtin
print() { builtin print "$@"; }
printf() { builtin printf "$@"; }
alias -g NUL='>/dev/null'
alias precmd='echo this is an alias'
PROMPT='shadow %1~ %# '
