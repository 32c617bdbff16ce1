# vi editing whose mode strings are invisible cursor-shape sequences
set -o vi
bind 'set show-mode-in-prompt on'
bind 'set vi-ins-mode-string \1\e[6 q\2'
bind 'set vi-cmd-mode-string \1\e[2 q\2'
PS1='\h:\W \$ '
