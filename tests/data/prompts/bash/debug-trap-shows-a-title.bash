# a DEBUG trap of the person's own, which puts each command into the title
trap 'printf "\e]0;%s\a" "${BASH_COMMAND//[^[:print:]]/}"' DEBUG
PS1='dbg \W \$ '
