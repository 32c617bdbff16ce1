# RPS1 instead of RPROMPT, with a sign in the middle, and RPS2 for continuation rows
RPS1='%F{yellow}[%? $ %h]%f'
RPS2='<%^'
PS1='%c » '
PS2='%_ » '
