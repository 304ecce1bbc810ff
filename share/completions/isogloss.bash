# Completion of isogloss for bash: source it, or install it under bash-completion's completions/.
_isogloss() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
  if [ "$COMP_CWORD" -eq 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W "audit convert inspect quantize sweep verify --help --version" -- "$current")
    return
  fi
  case $previous in
    --scheme) mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" audit --list-schemes)" -- "$current") ;;
    --langs|--reference-lang)
      mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" audit --list-languages | cut -d' ' -f1)" -- "$current") ;;
    --compute) mapfile -t COMPREPLY < <(compgen -W "f32 bf16" -- "$current") ;;
    --seed-family) mapfile -t COMPREPLY < <(compgen -W "A B C" -- "$current") ;;
    --type) mapfile -t COMPREPLY < <(compgen -W "f32 f16 bf16" -- "$current") ;;
    --format) mapfile -t COMPREPLY < <(compgen -W "gguf compressed-tensors gptq" -- "$current") ;;
    --part) mapfile -t COMPREPLY < <(compgen -W "all calibration select test" -- "$current") ;;
    --calibration-part) mapfile -t COMPREPLY < <(compgen -W "calibration all" -- "$current") ;;
    --calibration-weights) mapfile -t COMPREPLY < <(compgen -W "equal tokens minimax" -- "$current") ;;
    --mode) mapfile -t COMPREPLY < <(compgen -W "restore damage both subsets shapley sets patch" -- "$current") ;;
    --unit) mapfile -t COMPREPLY < <(compgen -W "layer half tensor" -- "$current") ;;
    --out|--scratch) mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    --include) mapfile -t COMPREPLY < <(compgen -W "embeddings head norms" -- "$current") ;;
    *)
      if [[ $current == -* ]]; then
        local options
        options=$("${COMP_WORDS[0]}" "${COMP_WORDS[1]}" --help | grep -o -- '--[a-z][a-z-]*' | sort -u)
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
      else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
      fi ;;
  esac
}
complete -o filenames -F _isogloss isogloss
