# emacs editing with show-mode-in-prompt: an at-sign stands before the prompt
bind 'set show-mode-in-prompt on'
bind 'set emacs-mode-string "@"'
PS1='\w> '
