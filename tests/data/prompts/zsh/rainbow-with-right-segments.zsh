# rainbow: segments with backgrounds on both sides, the right prompt reaches the last column
ZLE_RPROMPT_INDENT=0
PROMPT=$'%K{4}%F{15} %1~ %k%F{4}\ue0b0%f '
RPROMPT=$'%F{2}\ue0b2%K{2}%F{0} %(?.✔.✘ %?) %F{3}\ue0b2%K{3}%F{0} %T %k%f'
