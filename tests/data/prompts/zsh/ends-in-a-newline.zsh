# the prompt ends in a newline, so one types on an empty row, with the right prompt at its end
PROMPT=$'%n in %~\n'
RPROMPT='%T'
