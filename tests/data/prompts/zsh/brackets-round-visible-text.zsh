# %{ %} wrongly put round visible text, so zsh believes the prompt to be narrower than it is
PROMPT='%{%F{yellow}abc%f%} %# '
