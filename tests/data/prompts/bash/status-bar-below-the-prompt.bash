# a status row is drawn one row below the prompt, the cursor goes back up to it
PS1='\n\[\e[A\e7\e[B\r\e[7m\]\[ -- \u -- \]\[\e[0m\e[K\e8\]\W \$ '
