# full-width words and a full-width angle as the sign
PROMPT='端末 %1~ 入力＞ '
