# window titles that end in ESC backslash instead of BEL, one in the prompt and one while a command runs
PS1='\[\e]2;idle \W\e\\\]\W ⟩ '
PS0='\e]2;busy\e\\'
