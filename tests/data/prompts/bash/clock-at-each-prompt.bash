# a clock that moves only from prompt to prompt, seconds and all, so that no two prompts are alike
PS1='[\D{%H:%M:%S}] #\# !\! \W \$ '
