# a right prompt made by saving the cursor, going to column 999 and back; the typed line grows towards it
PS1='\[\e7\e[999C\e[7D\e[90m\A ✓\e[0m\e8\]\W » '
