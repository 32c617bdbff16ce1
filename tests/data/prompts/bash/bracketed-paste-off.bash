# bracketed paste is switched off in readline, and the prompt switches it off once more by hand
bind 'set enable-bracketed-paste off'
PS1='\[\e[?2004l\]paste-off \W \$ '
