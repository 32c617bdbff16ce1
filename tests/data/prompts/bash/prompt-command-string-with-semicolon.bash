# PROMPT_COMMAND is a string that ends in a semicolon and a blank; adding "; more" behind it is a syntax error
PROMPT_COMMAND='LAST_RC=$?; '
PS1='${LAST_RC} \W \$ '
