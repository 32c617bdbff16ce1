# a dollar in the middle of the prompt and an angle at its end
PROMPT='a $ b > '
