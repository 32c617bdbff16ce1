# full-width words and a full-width angle as the sign, each two columns wide
PS1='端末 \W 入力＞ '
