# a hash and a blank for anybody, not only for root; a typed line looks like a comment
PS1='# '
