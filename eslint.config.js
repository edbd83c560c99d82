// What the browser's scripts are checked against; vendored libraries are left alone.
import js from "@eslint/js";
import globals from "globals";

const modules = {
  ecmaVersion: 2023,
  sourceType: "module",
};

export default [
  { ignores: ["static/vendor/", "staticfiles/", "node_modules/"] },
  js.configs.recommended,
  {
    files: ["static/js/**/*.js"],
    languageOptions: { ...modules, globals: globals.browser },
  },
  {
    files: ["tests/js/**/*.js", "eslint.config.js"],
    languageOptions: { ...modules, globals: globals.node },
  },
  {
    rules: {
      "eqeqeq": "error",
      "no-var": "error",
      "prefer-const": "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-script-url": "error",
      "no-console": ["error", { allow: ["warn", "error"] }],
      "complexity": ["error", 12],
      "max-lines": ["error", 350],
    },
  },
];
