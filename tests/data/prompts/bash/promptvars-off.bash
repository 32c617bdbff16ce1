# promptvars is off: dollar and backquote in PS1 stay as they are, only backslash escapes work
shopt -u promptvars
PS1='$(hello) ${HOME} \W > '
