# a grey hint stands behind the cursor on the row of an empty prompt and is overwritten by typing
PS1='\W ❯ \[\e7\e[90mtype a command\e[0m\e8\]'
