# vi editing with show-mode-in-prompt, so [I] or [N] is put in front by readline and changes without a new prompt
set -o vi
bind 'set show-mode-in-prompt on'
bind 'set vi-ins-mode-string "[I] "'
bind 'set vi-cmd-mode-string "[N] "'
PS1='\W $ '
