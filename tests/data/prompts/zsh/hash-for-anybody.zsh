# a hash and a blank for anybody, not only for root; comments are allowed at the prompt
setopt interactive_comments
PROMPT='# '
