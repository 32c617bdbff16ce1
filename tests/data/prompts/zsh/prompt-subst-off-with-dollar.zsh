# prompt_subst is off: what looks like a substitution is shown as it is
unsetopt prompt_subst
PROMPT='$(hello) ${HOME} %1~ $ '
