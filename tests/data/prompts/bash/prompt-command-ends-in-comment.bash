# PROMPT_COMMAND is a string that ends in a comment, which swallows whatever is added on the same row
PROMPT_COMMAND='PS1="\W \$ " # the prompt is made anew each time'
