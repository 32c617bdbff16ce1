# coloured segments joined by powerline triangles, built anew by precmd, with the exit status at the front
autoload -Uz add-zsh-hook
_seg_build() {
  local rc=$? b
  PROMPT=
  (( rc )) && PROMPT+="%K{160}%F{231} ✘ $rc %K{238}%F{160}"$'\ue0b0'
  PROMPT+="%K{238}%F{231} %n@%m %K{31}%F{238}"$'\ue0b0'"%F{231} %~ "
  if b=$(git rev-parse --abbrev-ref HEAD 2>/dev/null); then
    PROMPT+="%K{148}%F{31}"$'\ue0b0'"%F{black} "$'\ue0a0'" $b %k%F{148}"
  else
    PROMPT+="%k%F{31}"
  fi
  PROMPT+=$'\ue0b0'"%f "
}
add-zsh-hook precmd _seg_build
