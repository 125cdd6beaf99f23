" Vim syntax of tapes and configs of the ducttape workflow language; bodies are highlighted as bash.

if exists("b:current_syntax")
  finish
endif

let b:is_bash = 1
syntax include @ducttapeBash syntax/sh.vim
unlet! b:current_syntax

syntax case match
syntax sync fromstart

syntax match  ducttapeComment "#.*$" contains=@Spell
syntax match  ducttapeComment "//.*$" contains=@Spell
syntax region ducttapeComment start="/\*" end="\*/" contains=ducttapeComment,@Spell

" Values.
syntax region ducttapeString start=+"+ skip=+\\.+ end=+"+ contains=ducttapeEscape contained
syntax region ducttapeString start=+'+ skip=+\\.+ end=+'+ contains=ducttapeEscape contained
syntax region ducttapeString start=+"""+ end=+"""\%("\)*+ contained
syntax match  ducttapeEscape +\\\(u\+\x\{4}\|[0-3]\?\o\{1,2}\|[ntrbf"'\\]\)+ contained
syntax match  ducttapeNumber "[-+]\?\<\d\+\(\.\d\+\)\?\([eE][-+]\?\d\+\)\?\ze\([] \t)]\|$\)" contained
syntax match  ducttapeSequence "[-+]\?\<\d\+\(\.\d\+\)\?\(\.\.[-+]\?\d\+\(\.\d\+\)\?\)\{1,2}" contained
syntax match  ducttapeVariable "\$\(\h\w*\|{\h\w*}\)" contained nextgroup=ducttapeOfTask,ducttapeGraft
syntax match  ducttapeOfTask "@\(\h\w*\)\?" contained nextgroup=ducttapeGraft
syntax match  ducttapeDirective "\<ducttape_\w\+" contained
syntax region ducttapeGraft matchgroup=ducttapeOperator start="\[" end="\]" oneline contained contains=ducttapePointName,ducttapeAll
syntax region ducttapePoint matchgroup=ducttapeOperator start="(" end=")" contained contains=ducttapePointName,ducttapeAll,ducttapeSequence,ducttapeBaseline,ducttapeComment,@ducttapeValue
syntax region ducttapeList matchgroup=ducttapeOperator start="\[" end="\]" contained contains=@ducttapeValue
syntax match  ducttapePointName "\<\h\w*\ze:" contained
syntax match  ducttapeAll "\*" contained
syntax keyword ducttapeBaseline baseline contained
syntax cluster ducttapeValue contains=ducttapeString,ducttapeNumber,ducttapeVariable,ducttapeOfTask,ducttapePoint,ducttapeList,ducttapeDirective

" Headers and bodies.
syntax match  ducttapeBlock "^\s*\(task\|func\|package\|action\|of\|baseline\|branch\)\s\+\h\w*" contains=ducttapeKeyword nextgroup=ducttapeBody,ducttapeCalls skipwhite skipempty
syntax match  ducttapeCalls "\<calls\s\+\h\w*" contains=ducttapeKeyword contained
syntax match  ducttapeMark "\(^\|\s\)\@1<=\(::\|:\|<\|>\)\ze\s"
syntax match  ducttapeAssigned "\(^\|\s\)\@1<=\.\?\h\w*\ze\s*=" nextgroup=ducttapeEquals skipwhite
syntax match  ducttapeEquals "=" contained nextgroup=@ducttapeValue skipwhite
syntax region ducttapeBody matchgroup=ducttapeBrace start="\(^\|\s\)\@1<={" end="}\ze\s*$" contains=@ducttapeBash,ducttapeInner
syntax region ducttapeInner start="{" end="}" contained transparent contains=@ducttapeBash,ducttapeInner

" Blocks of lines.
syntax region ducttapeLines matchgroup=ducttapeKeyword start="^\s*\(global\|config\)\>\ze\(\s\+\h\w*\)\?\s*\({\|$\)" end="^\s*}" contains=ducttapeComment,ducttapeAssigned,ducttapeDirective
syntax region ducttapePlan matchgroup=ducttapeKeyword start="^\s*plan\>\ze\(\s\+\h\w*\)\?\s*\({\|$\)" end="^}" contains=ducttapeReach,ducttapeComment,ducttapePoint
syntax region ducttapeGroup matchgroup=ducttapeKeyword start="^\s*\(submitter\|versioner\|summary\|group\|branchpoint\)\>\ze\s" end="^}" contains=ducttapeMember,ducttapeMark,ducttapeComment
syntax match  ducttapeMember "^\s*\(action\|of\|task\|func\|baseline\|branch\)\s\_[^{]*" contained contains=ducttapeKeyword,ducttapeMark,ducttapeAssigned,ducttapeComment nextgroup=ducttapeBody
syntax keyword ducttapeReach reach via contained
syntax match  ducttapeImport "^\s*import\s.*$" contains=ducttapeKeyword,ducttapeString,ducttapeComment

syntax keyword ducttapeKeyword task func package action of baseline branch calls import contained

highlight default link ducttapeComment   Comment
highlight default link ducttapeString    String
highlight default link ducttapeEscape    SpecialChar
highlight default link ducttapeNumber    Number
highlight default link ducttapeSequence  Number
highlight default link ducttapeVariable  Identifier
highlight default link ducttapeOfTask    Function
highlight default link ducttapeDirective PreProc
highlight default link ducttapeAssigned  Identifier
highlight default link ducttapePointName Type
highlight default link ducttapeAll       Special
highlight default link ducttapeBaseline  Constant
highlight default link ducttapeOperator  Delimiter
highlight default link ducttapeMark      Operator
highlight default link ducttapeEquals    Operator
highlight default link ducttapeBrace     Delimiter
highlight default link ducttapeBlock     Function
highlight default link ducttapeCalls     Function
highlight default link ducttapeReach     Keyword
highlight default link ducttapeKeyword   Keyword

let b:current_syntax = "ducttape"
